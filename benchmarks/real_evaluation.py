"""Evaluate a published model through lm-eval's own Hugging Face class and through ours: the same questions.

    python benchmarks/real_evaluation.py MODEL --data FOLDER --questions 114 --turns 3

MODEL is a folder or a GGUF file. FOLDER has `arc/arc_bio_test.jsonl` ({"question", "choices", "gold"}; asked by
`eval=[mc]`, and by an lm-eval task of the same prompt) and `mmlu/` with dev/ and test/ as its authors publish them
(`eval=[mmlu]`, 0 and 5 examples, the first questions of every subject). Both ways run whole: prompts, tokens, passes,
metrics. Time is the processor's, because other work may share the machine. lm-eval's batch size is its fastest on a few
questions.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from benchmarks._common import RESULTS, append, setting
from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.evaluation.suites.lm_eval import LMEvalSuite
from unlearnctl.evaluation.suites.mc import MultipleChoiceSuite
from unlearnctl.models.load import load_model
from unlearnctl.models.spec import ModelSpec
from unlearnctl.results.statistics import wilson
from unlearnctl.utils.quiet import quiet_libraries

SIZES = (1, 2, 4, 8)
SUBJECTS, TRIED = 57, "mmlu_high_school_biology"  # of MMLU; the one on which a batch size is chosen
FEW = 12  # questions for that
ARC_TASK = {
    "task": "arc", "dataset_path": "json", "test_split": "test", "output_type": "multiple_choice",
    "doc_to_text": "Question: {{question}}\nAnswer:", "doc_to_choice": "{{choices}}", "doc_to_target": "{{gold}}",
    "metric_list": [{"metric": "acc_norm"}],
}  # fmt: skip


@dataclass(frozen=True)
class Scores:
    """What a way says: each question's outcome, log-likelihoods (nats), and the score of every subject."""

    outcomes: list[float]
    likelihoods: list[float]
    subjects: dict[str, float]


@dataclass(frozen=True)
class Kind:
    """One type of question, asked in two ways; lm-eval's takes a batch size."""

    name: str
    ours: Callable[[], Scores]
    theirs: Callable[[int], Scores]


def harness_scores(results: dict[str, Any], metric: str, right_only: bool) -> Scores:
    """Collect what lm-eval logged, of all choices or of the right ones."""
    outcomes, likelihoods = [], []
    for samples in results["samples"].values():
        for sample in samples:
            outcomes.append(float(sample[metric]))
            values = [float(value) for value, _ in sample["filtered_resps"]]
            likelihoods += [values[int(sample["target"])]] if right_only else values
    scores = {name: float(found[f"{metric},none"]) for name, found in results["results"].items()}
    return Scores(outcomes, likelihoods, scores)


def plainly(model: Any, tokenizer: Any, tasks: Any, size: int, limit: int | None) -> dict[str, Any]:
    """Evaluate through the harness's own class."""
    found = evaluate(
        lm=HFLM(model, tokenizer=tokenizer, batch_size=size), task_dict=tasks, limit=limit, bootstrap_iters=0
    )
    assert found is not None
    return dict(found)


def mmlu(model: Any, tokenizer: Any, folder: Path, tasks: Sequence[str], shots: int, limit: int) -> Kind:
    """Ask for a letter: the first `limit` questions of every subject."""
    suite = LMEvalSuite(
        {task: task for task in tasks}, "lm_eval:mmlu/default", "retain", shots, limit, path=str(folder / "mmlu"),
        batch_tokens=8192, key="eval.mmlu",
    )  # fmt: skip
    suite.validate()

    def ours() -> Scores:
        return harness_scores(suite._evaluate(model, tokenizer, Answers()), "acc", False)

    def theirs(size: int) -> Scores:
        return harness_scores(plainly(model, tokenizer, suite.harness.load(), size, limit), "acc", False)

    return Kind(f"MMLU, {shots}-shot", ours, theirs)


def arc(model: Any, tokenizer: Any, folder: Path, scratch: Path, count: int) -> Kind:
    """Ask for the text of a choice; a sample of the questions, the same for both."""
    rows = (folder / "arc/arc_bio_test.jsonl").read_text(encoding="utf-8").splitlines()
    chosen = rows[:: max(1, len(rows) // count)][:count]
    (scratch / "arc.jsonl").write_text("\n".join(chosen) + "\n", encoding="utf-8")
    task = ARC_TASK | {"dataset_kwargs": {"data_files": {"test": str(scratch / "arc.jsonl")}}}
    (scratch / "arc.yaml").write_text(json.dumps(task), encoding="utf-8")
    suite = MultipleChoiceSuite({"arc": str(scratch / "arc.jsonl")}, replies=0)
    suite.validate()
    tasks = TaskManager(include_path=str(scratch), include_defaults=False).load(["arc"])

    def ours() -> Scores:
        found = suite.run(model, tokenizer, Answers())
        outcomes, right = found["arc_acc_norm"].items, found["arc_logp"].items
        assert outcomes is not None
        assert right is not None
        return Scores(list(outcomes), list(right), {"arc": found["arc_acc_norm"].value})

    def theirs(size: int) -> Scores:
        return harness_scores(plainly(model, tokenizer, tasks, size, None), "acc_norm", True)

    return Kind("ARC, choice texts", ours, theirs)


def seconds_of(way: Callable[[], Scores]) -> tuple[float, Scores]:
    """Run once; return seconds of processor time and the scores."""
    start = time.process_time()
    found = way()
    return time.process_time() - start, found


def compare(kind: Kind, few: Kind, turns: int, size: int | None) -> list[str]:
    """Make the table's row for one type of question; `few` is a sample on which lm-eval's batch size is chosen."""
    few.ours()  # what is imported and checked once does not count
    best = size or min(SIZES, key=lambda n: seconds_of(partial(few.theirs, n))[0])
    theirs, plain = seconds_of(partial(kind.theirs, best))
    ours, found = seconds_of(kind.ours)
    pairs = [(theirs, ours)]
    for _ in range(turns - 1):
        pairs.append((seconds_of(partial(kind.theirs, best))[0], seconds_of(kind.ours)[0]))
    gap = max(abs(a - b) for a, b in zip(plain.likelihoods, found.likelihoods, strict=True))
    same = sum(a == b for a, b in zip(plain.outcomes, found.outcomes, strict=True))
    apart = [name for name, score in plain.subjects.items() if found.subjects[name] != score]
    n, share = len(found.outcomes), statistics.fmean(found.outcomes)
    low, high = wilson(round(sum(found.outcomes)), n)
    print(f"{kind.name}: subjects {json.dumps(found.subjects)}; different: {apart or 'none'}", flush=True)
    return [
        kind.name, str(n), f"{share:.3f} [{low:.3f}, {high:.3f}]", f"{same} of {n}", f"{gap:.0e}", str(best),
        *(f"{statistics.median(p[k] for p in pairs):.1f}" for k in (0, 1)),
        f"{statistics.median(a / b for a, b in pairs):.2f}",
    ]  # fmt: skip


def kinds(
    model: Any, tokenizer: Any, folder: Path, scratch: Path, count: int, tasks: Sequence[str]
) -> list[tuple[Kind, Kind]]:
    """Make every type of question, of about `count` questions each, and a small sample of each."""

    def texts(name: str, count: int) -> Kind:
        (scratch / name).mkdir()
        return arc(model, tokenizer, folder, scratch / name, count)

    letters = partial(mmlu, model, tokenizer, folder)
    each = max(1, count // (SUBJECTS if tasks == ["mmlu"] else len(tasks)))
    return [
        (texts("all", count), texts("few", FEW)),
        *((letters(tasks, shots, each), letters([TRIED], shots, FEW)) for shots in (0, 5)),
    ]


def main() -> None:
    """Measure, compare the answers, print, append."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="a model folder or a GGUF file")
    parser.add_argument("--data", type=Path, required=True, help="folder with arc/ and mmlu/")
    parser.add_argument("--questions", type=int, default=114, help="of each type, about (default: 114)")
    parser.add_argument(
        "--tasks", nargs="*", default=["mmlu"], help="instead of all of MMLU, such as mmlu_virology"
    )
    parser.add_argument("--turns", type=int, default=3, help="alternating turns (default: 3)")
    parser.add_argument("--only", default="", help="only types whose name contains this")
    parser.add_argument("--batch", type=int, help="lm-eval's batch size (default: its fastest of 1, 2, 4, 8)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file to append to")
    args = parser.parse_args()
    quiet_libraries()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    spec = ModelSpec.from_config({"name": "real", "path": str(args.model), "dtype": "float32"})
    model, tokenizer = load_model(spec), spec.tokenizer()
    with tempfile.TemporaryDirectory() as scratch:
        rows = [
            compare(kind, few, args.turns, args.batch)
            for kind, few in kinds(model, tokenizer, args.data, Path(scratch), args.questions, args.tasks)
            if args.only in kind.name
        ]
    header = [
        "questions",
        "n",
        "score, 95 %",
        "same answers",
        "apart (nats)",
        "batch",
        "lm-eval, s",
        "ours, s",
        "×",
    ]
    detail = f"{setting()}; {args.model.stem}, float32; processor time, median of {args.turns} turns"
    append(args.results, "Evaluation of a real model", detail, header, rows)


if __name__ == "__main__":
    main()
