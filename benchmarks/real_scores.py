"""Score a model folder by plain transformers: multiple-choice questions and the perplexity of a text, as JSON.

    python benchmarks/real_scores.py FOLDER --questions bio.jsonl physics.jsonl --text wikitext.txt

The independent check of what `unlearnctl eval` reports: it imports nothing from the package. A line of a questions file
is {"question", "choices", "gold"}. After `Question: …\\nAnswer:`, `acc` takes the choice of the highest log-likelihood,
`acc_norm` that of the highest per character (as lm-evaluation-harness has them); `gold_logprob` is the right choice's.

The text is read in paragraphs: lines of at least 50 characters, each cut to 128 tokens. Perplexity is over all their
tokens but the first. Few paragraphs, on the forgotten subject, may carry most of a rise, so each one's loss is there.
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

SHORTEST, LONGEST = 50, 128  # characters and tokens of a paragraph
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
    """Return both accuracies, the number of questions, and the right choice's mean log-likelihood (nats)."""
    items = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()][:limit]
    by_length = defaultdict(list)
    # The choices of a group are padded to the longest, so equally long ones should meet.
    items.sort(key=lambda item: max(map(len, item["choices"])))
    for item in items:
        item["context"] = tokenizer(f"Question: {item['question']}\nAnswer:").input_ids
        item["rows"] = [tokenizer(f" {c}", add_special_tokens=False).input_ids for c in item["choices"]]
        by_length[len(item["context"])].append(item)
    right, norm, gold = 0, 0, 0.0
    for group in (same[i : i + GROUP] for same in by_length.values() for i in range(0, len(same), GROUP)):
        found = choice_logprobs(model, [item["context"] for item in group], [item["rows"] for item in group])
        for item, scores in zip(group, found, strict=True):
            each = [score / len(choice) for score, choice in zip(scores, item["choices"], strict=True)]
            right += scores.index(max(scores)) == item["gold"]
            norm += each.index(max(each)) == item["gold"]
            gold += scores[item["gold"]]
    count = len(items)
    return {"acc": right / count, "acc_norm": norm / count, "n": count, "gold_logprob": gold / count}


@torch.no_grad()
def perplexity(
    model: Any, tokenizer: Any, text: str, limit: int | None, first: bool = False
) -> dict[str, Any]:
    """Return perplexity per token, the number of paragraphs, and each one's loss; `limit` of them, spread evenly."""
    lines = [line for line in text.splitlines() if len(line) >= SHORTEST]
    every = max(1, len(lines) // limit) if limit and not first else 1
    chosen = lines[::every][:limit]
    rows = [tokenizer(line, add_special_tokens=False).input_ids[:LONGEST] for line in chosen]
    losses = [float(model(row, labels=row).loss) for row in (torch.tensor([row]) for row in rows)]
    tokens = [len(row) - 1 for row in rows]
    total = sum(loss * count for loss, count in zip(losses, tokens, strict=True))
    return {"perplexity": math.exp(total / sum(tokens)), "paragraphs": len(rows), "losses": losses}


def main() -> None:
    """Print the scores of one folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="a Hugging Face model folder")
    parser.add_argument("--questions", type=Path, nargs="*", default=[], help="JSONL files")
    parser.add_argument("--text", type=Path, help="a text file")
    parser.add_argument("--limit", type=int, help="score only the first N questions of each file")
    parser.add_argument("--paragraphs", type=int, help="score only N, spread evenly over the text")
    parser.add_argument("--first", action="store_true", help="take the first N paragraphs instead")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.folder)
    model = AutoModelForCausalLM.from_pretrained(args.folder, dtype=torch.float32).eval()
    scores: dict[str, Any] = {"folder": str(args.folder)}
    for file in args.questions:
        scores[file.stem] = score_questions(model, tokenizer, file, args.limit)
    if args.text:
        scores[args.text.stem] = perplexity(
            model, tokenizer, args.text.read_text(encoding="utf-8"), args.paragraphs, args.first
        )
    print(json.dumps(scores))


if __name__ == "__main__":
    main()
