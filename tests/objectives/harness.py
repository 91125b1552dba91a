"""Views made of random tensors, so that objectives are tested without a model."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from tests.models.tiny import VOCABULARY, make_batch
from unlearnctl.data.batch import Batch
from unlearnctl.objectives.base import Loss, Objective, Outputs, View

D = 8
LENGTHS = (5, 9, 3, 7)


def outputs(
    batch: Batch, seed: int, layers: tuple[int, ...] = (1, 4), dtype: torch.dtype = torch.float32
) -> Outputs:
    """Random activations and logits that depend on the token's place in its sequence, not on the padding."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(len(layers) + 1, 64, 64, VOCABULARY, generator=generator, dtype=dtype)
    place = batch.attention_mask.cumsum(-1) - 1
    rows = batch.index[:, None].expand_as(place)
    real = batch.attention_mask.bool()[..., None]

    def pick(which: int, width: int) -> Tensor:
        return torch.where(real, table[which][rows, place.clamp_min(0)][..., :width], float("nan"))

    logits = pick(len(layers), VOCABULARY)
    logprobs = torch.zeros(batch.labels.shape, dtype=dtype)
    log_softmax = torch.where(real, logits, 0.0).log_softmax(-1)
    predicted = View(batch, Outputs()).predicted
    picked = log_softmax[:, :-1].gather(-1, batch.input_ids[:, 1:, None])[..., 0]
    logprobs[:, 1:] = torch.where(predicted[:, 1:], picked, 0.0)
    own = torch.Generator().manual_seed(seed + 10_000)
    final = torch.where(
        real, torch.randn(64, 64, D, generator=own, dtype=dtype)[rows, place.clamp_min(0)], float("nan")
    )
    return Outputs({layer: pick(i, D) for i, layer in enumerate(layers)}, logits, logprobs, final)


def view(
    seed: int, side: str = "right", width: int = 9, rows: slice | None = None, reference: bool = True
) -> View:
    """A whole global batch, or `rows` of it as one micro-batch."""
    batch = make_batch(LENGTHS, side, width, seed=seed)
    if rows is not None:
        tensors = {k: v[rows] for k, v in vars(batch).items() if isinstance(v, Tensor)}
        batch = replace(batch, **tensors)
    return View(batch, outputs(batch, seed), outputs(batch, seed + 100) if reference else None)


def ready(objective: Objective, topics: int = 1) -> Objective:
    """Set up with a fixed generator, and calibrated on the first batch if it asks for that."""
    objective.setup(D, topics, torch.Generator().manual_seed(7))
    if objective.calibration():
        objective.calibrate(view(1))
    return objective


SEEDS = {"forget": 1, "retain": 2, "alternate": 3, "refusal": 4}


def loss(objective: Objective, **kwargs: object) -> Loss:
    """Of views of the sides that it reads."""
    return objective(**{side: view(SEEDS[side], **kwargs) for side in objective.needs()})  # type: ignore[arg-type]


def check_invariances(objective: Objective) -> None:
    """Padding side, padding width and content (NaN), and batch split change nothing to 1e-6."""
    whole = loss(objective).total
    assert torch.isfinite(whole)
    for other in (
        loss(objective, side="left"),
        loss(objective, width=14),
        loss(objective, side="left", width=30),
    ):
        torch.testing.assert_close(other.total, whole, atol=1e-6, rtol=1e-6)
    for cuts in ((0, 1, 2, 3, 4), (0, 3, 4), (0, 2, 4)):
        parts = [loss(objective, rows=slice(a, b)) for a, b in pairwise(cuts)]
        torch.testing.assert_close(sum(p.total for p in parts), whole, atol=1e-6, rtol=1e-6)  # type: ignore[arg-type]
        for name, value in loss(objective).terms.items():
            total = sum(p.terms[name] for p in parts)
            torch.testing.assert_close(total, value, atol=1e-6, rtol=1e-6)  # type: ignore[arg-type]


def tokens(v: View, of: Tensor) -> list[Tensor]:
    """The rows of `of` [B, T, ...] at real tokens, one by one: for naive loops."""
    return [of[b, t] for b in range(of.shape[0]) for t in range(of.shape[1]) if v.batch.attention_mask[b, t]]


def naive_sequence_logprobs(v: View, out: Outputs) -> list[list[float]]:
    """Per sequence, log p of each token after the first, by a loop over the logits."""
    found: list[list[float]] = []
    assert out.logits is not None
    for b in range(v.batch.input_ids.shape[0]):
        places = [t for t in range(v.batch.input_ids.shape[1]) if v.batch.attention_mask[b, t]]
        found.append(
            [
                float(torch.log(torch.softmax(out.logits[b, t - 1], 0)[v.batch.input_ids[b, t]]))
                for t in places[1:]
            ]
        )
    return found
