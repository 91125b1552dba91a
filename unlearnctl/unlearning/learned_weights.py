"""Save the token weights that a run learned, and score them where the truth is known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from unlearnctl.data.rows import Row, collate
from unlearnctl.distributed.collectives import on_main
from unlearnctl.evaluation.scoring.auroc import auroc
from unlearnctl.objectives.token_weights import TokenWeights
from unlearnctl.utils.atomic import write_atomically

if TYPE_CHECKING:
    from unlearnctl.models.partial.tapped import TappedModel
    from unlearnctl.unlearning.setup import Setup

SHOWN = 24  # texts that are saved token by token, for the page
SCORED = 1024  # texts that the scores are over


def measure_token_weights(
    setup: Setup, tapped: TappedModel, weights: TokenWeights, device: torch.device
) -> dict[str, Any]:
    """Write `token_weights.json`; returns the `train.token_weights` part of results.json.

    AUROC is of the weights against the tokens that truly matter (`data.forget.spans_field`), over predicted tokens;
    beside it that of the model's own p (WGA's weight). Chance is ½, which uniform weights score.
    """
    shown: list[dict[str, Any]] = []
    truth: list[list[bool]] = []
    learned: list[list[float]] = []
    probable: list[list[float]] = []
    for row, g, p in _rows(setup, tapped, weights, device):
        true = [any(a <= t < b for a, b in row.spans or []) for t in range(len(row.ids))]
        if len(shown) < SHOWN:
            tokens = [setup.tokenizer.decode([token]) for token in row.ids]
            shown.append({"tokens": tokens, "weights": g, "true": true if row.spans is not None else None})
        if row.spans is not None:
            counted = range(max(row.prompt, 1), len(row.ids))
            truth.append([true[t] for t in counted])
            learned.append([g[t] for t in counted])
            probable.append([p[t] for t in counted])
    path = setup.directory / "token_weights.json"
    on_main(lambda: write_atomically(path, json.dumps({"texts": shown})))
    found: dict[str, Any] = {
        "mean": _mean(learned) if learned else _mean([text["weights"] for text in shown])
    }
    if {True, False} <= {value for row in truth for value in row}:
        found |= {"auroc": auroc(truth, learned), "auroc_probability": auroc(truth, probable)}
    return found


@torch.no_grad()
def _rows(
    setup: Setup, tapped: TappedModel, weights: TokenWeights, device: torch.device
) -> Iterator[tuple[Row, list[float], list[float]]]:
    """Yield each forget row with the weight and the probability of every token; 0 where none is predicted."""
    settings, data = setup.prepared.settings, setup.data
    size = settings.micro_batch or settings.global_batch
    # The weights follow from the policy alone. The reference is read only to learn them, and may have been freed.
    need = replace(weights.needs(), reference=False)
    tapped.eval()
    for topic, rows in data.rows["forget"].items():
        for first in range(0, min(SCORED, len(rows)), size):
            some = rows[first : first + size]
            batch = collate(some, data.pad_id, "right", 1, 1, 1, 0, f"forget/{topic}")
            view = tapped.read(batch.to(device), need)
            g, p = weights(view), torch.where(view.predicted, view.logprobs.exp(), 0.0)
            for place, row in enumerate(some):
                length = len(row.ids)
                yield row, g[place, :length].tolist(), p[place, :length].tolist()


def _mean(rows: list[list[float]]) -> float:
    values = [value for row in rows for value in row]
    return sum(values) / len(values)
