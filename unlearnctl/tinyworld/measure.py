"""Measures what a model of the tiny world knows: accuracy of completions, perplexity of stories, toxicity of replies.

Small on purpose: it judges the weights when they are built. Runs are judged by `unlearnctl.evaluation`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from unlearnctl.tinyworld import corpora, mcq, texts


@torch.no_grad()
def accuracy(model: Any, tokenizer: Any, rows: list[dict[str, Any]]) -> float:
    """Return the share of questions whose right choice is the likeliest continuation; every choice is one token."""
    stems = tokenizer([row["question"] for row in rows], add_special_tokens=False)["input_ids"]
    first = torch.tensor([[_single(tokenizer, choice) for choice in row["choices"]] for row in rows])
    right = 0
    for start in range(0, len(rows), 128):
        batch = stems[start : start + 128]
        ids, mask = _pad(batch, tokenizer.pad_token_id)
        logits = model(ids.to(model.device), attention_mask=mask.to(model.device)).logits.float().cpu()
        last = logits[torch.arange(len(batch)), mask.sum(1) - 1]
        picked = last.gather(1, first[start : start + 128]).argmax(1)
        right += sum(int(p) == row["answer"] for p, row in zip(picked, rows[start:], strict=False))
    return right / len(rows)


def _single(tokenizer: Any, choice: str) -> int:
    (token,) = tokenizer.encode(choice, add_special_tokens=False)
    return token


def _pad(batch: list[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, batch))
    ids = torch.tensor([row + [pad] * (width - len(row)) for row in batch])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in batch])
    return ids, mask


@torch.no_grad()
def perplexity(model: Any, tokenizer: Any, lines: list[str]) -> float:
    """Return the perplexity per token, with each text on its own after `<bos>`."""
    ids, mask = _pad(tokenizer(lines)["input_ids"], tokenizer.pad_token_id)
    logits = model(ids.to(model.device), attention_mask=mask.to(model.device)).logits.float().cpu()
    targets = ids[:, 1:].masked_fill(mask[:, 1:] == 0, -100)
    return math.exp(cross_entropy(logits[:, :-1].flatten(0, 1), targets.flatten()).item())


@torch.no_grad()
def toxicity(model: Any, tokenizer: Any, rows: list[dict[str, Any]], samples: int = 4) -> dict[str, float]:
    """Return the share of sampled replies (temperature 1) that hold a toxic word, by cue."""
    generator = torch.Generator().manual_seed(0)
    hits: dict[str, list[bool]] = {"angry": [], "calm": []}
    by_length: dict[int, list[tuple[list[int], str]]] = {}
    for row in rows:
        ids = tokenizer.encode(row["prompt"]["text"])
        by_length.setdefault(len(ids), []).append((ids, row["cue"]))
    for group in by_length.values():  # equal lengths need no padding, so plain sampling is enough
        ids = torch.tensor([ids for ids, _ in group for _ in range(samples)])
        replies = tokenizer.batch_decode(_continue(model, ids, generator), skip_special_tokens=True)
        for place, reply in enumerate(replies):
            hits[group[place // samples][1]].append(texts.is_toxic(reply))
    shares = {cue: sum(found) / len(found) for cue, found in hits.items()}
    return {
        "toxicity": sum(shares.values()) / 2,
        **{f"toxicity_{cue}": share for cue, share in shares.items()},
    }


def _continue(model: Any, ids: torch.Tensor, generator: torch.Generator, tokens: int = 12) -> torch.Tensor:
    start = ids.shape[1]
    for _ in range(tokens):
        logits = model(ids.to(model.device)).logits[:, -1].float().cpu()
        ids = torch.cat([ids, torch.multinomial(logits.softmax(-1), 1, generator=generator)], 1)
    return ids[:, start:]


def measure(model: Any, tokenizer: Any) -> dict[str, float]:
    """Measure every number of the model card."""
    model.eval()
    found = {group: accuracy(model, tokenizer, mcq.questions(group, False)) for group in mcq.GROUPS}
    found |= {f"{group}_val": accuracy(model, tokenizer, mcq.questions(group, True)) for group in mcq.GROUPS}
    found["narrative_ppl"] = perplexity(model, tokenizer, corpora.stories()["test"])
    found |= toxicity(model, tokenizer, corpora.prompt_rows("test", 100))
    return {name: round(value, 4) for name, value in found.items()}


def ablation(model: Any, tokenizer: Any, rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Measure where the knowledge is: accuracy without the MLP of block l (`alone`), and of blocks 0 to l (`upto`)."""
    blocks = range(len(model.model.layers))
    return {
        "alone": [round(_without(model, tokenizer, rows, [block]), 3) for block in blocks],
        "upto": [round(_without(model, tokenizer, rows, [*range(block + 1)]), 3) for block in blocks],
    }


def _without(model: Any, tokenizer: Any, rows: list[dict[str, Any]], blocks: list[int]) -> float:
    mlps = [model.model.layers[block].mlp for block in blocks]
    hooks = [mlp.register_forward_hook(lambda module, args, out: torch.zeros_like(out)) for mlp in mlps]
    try:
        return accuracy(model, tokenizer, rows)
    finally:
        for hook in hooks:
            hook.remove()
