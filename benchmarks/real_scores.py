"""Score a model folder by plain transformers: multiple-choice questions and the perplexity of a text, as JSON.

    python benchmarks/real_scores.py FOLDER --questions bio.jsonl physics.jsonl --text wikitext.txt

The independent check of what `unlearnctl eval` reports: it imports nothing from the package. A line of a questions file
is {"question", "choices", "gold"}. The prompt is `Question: …\\nAnswer:`; the choice whose ` choice` has the highest
log-likelihood is taken (lm-evaluation-harness's `acc` for ARC). Beside accuracy stands the gold choice's mean
log-likelihood. The text is cut into windows of 512 tokens without overlap, and the first token of each is context only;
perplexity is per token.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

WINDOW = 512  # tokens
GROUP = 8  # questions in one pass


@torch.no_grad()
def choice_logprobs(
    model: Any, contexts: list[list[int]], choices: list[list[list[int]]]
) -> list[list[float]]:
    """Return the log-likelihood (nats) of each choice of each question; the contexts are equally long, so unpadded."""
    owner = torch.tensor([place for place, several in enumerate(choices) for _ in several])
    rows = [(contexts[place][-1], choice) for place, several in enumerate(choices) for choice in several]
    longest = max(len(choice) for _, choice in rows)
    ids = torch.tensor([[last, *choice] + [0] * (longest - len(choice)) for last, choice in rows])
    mask = torch.tensor([[1] * len(choice) + [0] * (longest - len(choice)) for _, choice in rows])
    # A question is read once, which halves the cost: its choices continue from copies of its keys and values.
    before = torch.tensor([context[:-1] for context in contexts])
    cache = model(before, use_cache=True, logits_to_keep=1).past_key_values
    cache.batch_select_indices(owner)
    seen = torch.ones(len(rows), before.shape[1] + 1, dtype=torch.long)
    logits = model(ids, attention_mask=torch.cat([seen, mask], 1), past_key_values=cache).logits
    picked = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    totals = (picked * mask).sum(-1)
    return [totals[owner == place].tolist() for place in range(len(contexts))]


def score_questions(model: Any, tokenizer: Any, file: Path, limit: int | None) -> dict[str, float]:
    """Return accuracy, the number of questions, and the gold choice's mean log-likelihood (nats)."""
    items = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()][:limit]
    by_length = defaultdict(list)
    for item in items:
        item["context"] = tokenizer(f"Question: {item['question']}\nAnswer:").input_ids
        item["rows"] = [tokenizer(f" {c}", add_special_tokens=False).input_ids for c in item["choices"]]
        by_length[len(item["context"])].append(item)
    right, gold = 0, 0.0
    for group in (same[i : i + GROUP] for same in by_length.values() for i in range(0, len(same), GROUP)):
        found = choice_logprobs(model, [item["context"] for item in group], [item["rows"] for item in group])
        for item, scores in zip(group, found, strict=True):
            right += max(range(len(scores)), key=scores.__getitem__) == item["gold"]
            gold += scores[item["gold"]]
    return {"accuracy": right / len(items), "n": len(items), "gold_logprob": gold / len(items)}


@torch.no_grad()
def perplexity(model: Any, tokenizer: Any, text: str, limit: int | None) -> dict[str, float]:
    """Return perplexity per token, and the number of windows; with a limit, they are spread evenly over the text."""
    ids = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    windows = [ids[i : i + WINDOW] for i in range(0, len(ids) - WINDOW, WINDOW)]
    chosen = windows[:: max(1, len(windows) // limit)][:limit] if limit else windows
    losses = [float(model(row, labels=row).loss) for row in (torch.tensor([w]) for w in chosen)]
    return {"perplexity": math.exp(sum(losses) / len(losses)), "windows": len(chosen)}


def main() -> None:
    """Print the scores of one folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="a Hugging Face model folder")
    parser.add_argument("--questions", type=Path, nargs="*", default=[], help="JSONL files")
    parser.add_argument("--text", type=Path, help="a text file")
    parser.add_argument("--limit", type=int, help="score only the first N questions of each file")
    parser.add_argument("--windows", type=int, help="score only N windows, spread evenly over the text")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.folder)
    model = AutoModelForCausalLM.from_pretrained(args.folder, dtype=torch.float32).eval()
    scores: dict[str, Any] = {"folder": str(args.folder)}
    for file in args.questions:
        scores[file.stem] = score_questions(model, tokenizer, file, args.limit)
    if args.text:
        scores[args.text.stem] = perplexity(
            model, tokenizer, args.text.read_text(encoding="utf-8"), args.windows
        )
    print(json.dumps(scores, indent=1))


if __name__ == "__main__":
    main()
