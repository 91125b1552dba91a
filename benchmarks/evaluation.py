"""Time multiple-choice questions: the harness's own Hugging Face class against ours, on the same requests.

python benchmarks/evaluation.py --preset tiny|cpu|8b

Questions shaped as in MMLU, of random words: letters (one token an answer, all four choices in the question) at 0 and
5 examples, and choice texts (each answer's own words) at 0. The floor is bare forward passes over the distinct
tokens, unpadded, a shared few-shot beginning once, the head where an answer is read.
"""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from benchmarks._common import PRESETS, Preset, alternate, apart, needs_gpu, preset, report
from unlearnctl.evaluation.scoring.harness import HarnessModel
from unlearnctl.utils.quiet import quiet_libraries

SIZES = (1, 2, 4, 8, 16)
QUESTIONS = {"tiny": 24, "cpu": 32, "8b": 512}
TOKENS = {"tiny": 512, "cpu": 1024, "8b": 16384}
KINDS = {"letters, 0-shot": (True, 0), "choice texts, 0-shot": (False, 0), "letters, 5-shot": (True, 5)}


def tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """Build a tokenizer with one token per word."""
    words = {"[PAD]": 0, "[BOS]": 1, "[EOS]": 2} | {f"w{i}": i for i in range(3, vocabulary)}
    bare = Tokenizer(models.WordLevel(words, unk_token="[PAD]"))
    bare.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=bare, pad_token="[PAD]", bos_token="[BOS]", eos_token="[EOS]"
    )


def requests(kind: str, count: int, vocabulary: int) -> list[Instance]:
    """Make four requests per question, with questions of 20 to 80 words and choices of 3 to 12."""
    letters, shots = KINDS[kind]
    rng = random.Random(0)

    def words(n: int) -> str:
        return " ".join(f"w{rng.randrange(10, vocabulary)}" for _ in range(n))

    def example() -> tuple[str, list[str]]:
        choices = [words(rng.randrange(3, 13)) for _ in range(4)]
        question = words(rng.randrange(20, 81))
        if not letters:
            return f"{question} w3", choices
        listed = " ".join(f"w{4 + k} {choice}" for k, choice in enumerate(choices))
        return f"{question} {listed} w3", [f"w{4 + k}" for k in range(4)]

    head = words(12)
    for _ in range(shots):
        context, choices = example()
        head += f" {context} {choices[0]}"
    found = []
    for place in range(count):
        context, choices = example()
        for k, choice in enumerate(choices):
            arguments = (f"{head} {context}", f" {choice}")
            found.append(Instance("loglikelihood", {}, arguments, k, metadata=("t", place, 1)))
    return found


def floor(
    model: PreTrainedModel, asked: Sequence[Instance], words: PreTrainedTokenizerFast
) -> Callable[[], None]:
    """Time bare passes of 512 tokens per row over the least that must be read; shared beginnings count once."""
    texts: dict[str, list[str]] = {}
    for request in asked:
        texts.setdefault(request.args[0], []).append(request.args[1])
    contexts = [words(text)["input_ids"] for text in texts]
    shared = 0
    while all(row[shared] == contexts[0][shared] for row in contexts):
        shared += 1
    branches = [len(words(c)["input_ids"]) - 1 for choices in texts.values() for c in choices]
    distinct = sum(len(row) - shared for row in contexts) + sum(branches)
    answers = len(branches) if sum(branches) else len(contexts)
    read = torch.randint(3, 100, (1, max(shared, 1)), device=model.device)
    rows = [512] * (distinct // 512) + [distinct % 512]
    batches = [torch.randint(3, 100, (1, n), device=model.device) for n in rows if n]

    @torch.no_grad()
    def run() -> None:
        left = answers + sum(branches)
        if shared >= 64:
            model.base_model(input_ids=read, use_cache=False)
        for ids in batches:
            hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, :left]
            model.lm_head(hidden[:, : -(-left // len(batches))]).float().logsumexp(-1)

    return run


def best_size(model: PreTrainedModel, words: PreTrainedTokenizerFast, asked: list[Instance]) -> int:
    """Find the harness's fastest batch size on these requests."""
    sizes = {
        size: lambda size=size: HFLM(model, tokenizer=words, batch_size=size).loglikelihood(
            asked, disable_tqdm=True
        )
        for size in SIZES
    }
    seconds = alternate({str(size): way for size, way in sizes.items()}, 1)
    return min(SIZES, key=lambda size: min(seconds[str(size)]))


def measure(chosen: Preset, kind: str) -> list[list[str]]:
    """Make the table's rows for one type of question."""
    model, words = chosen.model(), tokenizer(chosen.vocabulary)
    count = QUESTIONS[chosen.name]
    asked = requests(kind, count, chosen.vocabulary)
    size = best_size(model, words, asked[: 4 * (8 if KINDS[kind][1] else 16)])
    theirs = HFLM(model, tokenizer=words, batch_size=size)
    ours = HarnessModel(model, words, TOKENS[chosen.name])
    first, second = theirs.loglikelihood(asked, disable_tqdm=True), ours.loglikelihood(asked)
    gap = max(abs(a[0] - b[0]) for a, b in zip(first, second, strict=True))
    picks = [
        [max(range(4), key=lambda k, r=r, i=i: r[i + k][0]) for i in range(0, len(r), 4)]
        for r in (first, second)
    ]
    same = sum(a == b for a, b in zip(*picks, strict=True))
    seconds = alternate(
        {
            "harness": lambda: theirs.loglikelihood(asked, disable_tqdm=True),
            "ours": lambda: HarnessModel(model, words, TOKENS[chosen.name]).loglikelihood(asked),
            "floor": floor(model, asked, words),
        },
        chosen.repeats,
    )
    return list(
        _rows(chosen, kind, count, seconds, size, f"{same} of {count} answers the same, apart by {gap:.0e}")
    )


def _rows(
    chosen: Preset, kind: str, count: int, seconds: dict[str, list[float]], size: int, note: str
) -> Iterator[list[str]]:
    middle = {way: sorted(found)[len(found) // 2] for way, found in seconds.items()}
    peaks = {way: apart(once, way, chosen.name, kind, size)[2] for way in ("harness", "ours")}
    notes = {"harness": f"batch {size}, the fastest of {SIZES}", "ours": note, "floor": ""}
    for way in ("harness", "ours", "floor"):
        yield [
            f"{kind}: {way}", f"{count / middle[way]:.2f}", f"{middle['harness'] / middle[way]:.2f}",
            f"{middle[way] / middle['floor']:.2f}", f"{peaks[way] / 1e6:.0f}" if way in peaks else "", notes[way],
        ]  # fmt: skip


def once(way: str, name: str, kind: str, size: int) -> None:
    """Run one evaluation in a separate process, for its peak memory."""
    chosen = PRESETS[name]
    model, words = chosen.model(), tokenizer(chosen.vocabulary)
    asked = requests(kind, QUESTIONS[name], chosen.vocabulary)
    if way == "harness":
        HFLM(model, tokenizer=words, batch_size=size).loglikelihood(asked, disable_tqdm=True)
    else:
        HarnessModel(model, words, TOKENS[name]).loglikelihood(asked)


def main() -> None:
    """Measure, compare the answers, print, append."""
    chosen = preset(__doc__ or "")
    if needs_gpu(chosen):
        return
    quiet_libraries()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    chosen = replace(chosen, repeats=min(chosen.repeats, 3))
    rows = [row for kind in KINDS for row in measure(chosen, kind)]
    header = ["way", "questions/s", "× harness", "× floor's time", "peak MB", ""]
    report("Multiple-choice evaluation", chosen, header, rows)


if __name__ == "__main__":
    main()
