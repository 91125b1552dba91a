"""Find that a loss on hidden states is about a token or two that hold no text, and say what to turn."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from unlearnctl.objectives.token_norms import TokenNorms
from unlearnctl.probes.norms import token_norms

if TYPE_CHECKING:
    from unlearnctl.models.partial.tapped import TappedModel
    from unlearnctl.objectives.base import Objective
    from unlearnctl.unlearning.no_effect import Flag
    from unlearnctl.unlearning.setup import Setup

FACTOR = 10.0  # medians, above which a token counts as a sink; what conf/objective/ leaves out
BOUND = 0.9  # share of the forget loss


@torch.no_grad()
def sink_share(setup: Setup, tapped: TappedModel) -> float | None:
    """Return the share of the first micro-batch's forget loss that sinks make up; None where they are left out.

    It is found by evaluating the objective with and without them, before the first step.
    """
    objective, settings = setup.prepared.objective, setup.prepared.settings
    counting = [part for part in _norms_of(objective) if part.sink_factor is None]
    if not counting:
        return None
    layers = sorted({layer for part in _norms_of(objective) for layer in part.layers})
    norms = token_norms(tapped.decoder, setup.data, layers)
    device = tapped.model.device
    # Copies, because an objective may draw noise or learn while it is evaluated.
    every, without = (copy.deepcopy(objective).to(device) for _ in range(2))
    for part in _norms_of(without):
        part.sink_factor = FACTOR
        part.take_norms(norms)
    without.to(device)
    micro = settings.micro_batch or settings.global_batch
    first = setup.data.micro_batches(0, settings.global_batch, micro)[0]
    views = tapped({side: first[side].to(device) for side in tapped.needs})
    whole, rest = float(every(**views).forget), float(without(**views).forget)
    return max(0.0, 1 - rest / whole) if whole > 0 else None


def sink_flags(rows: Iterable[Mapping[str, Any]]) -> list[Flag]:
    """List the flag `sinks` of a run that has looked for them, raised if nearly all of the forget loss is theirs."""
    return [
        {
            "name": "sinks",
            "metric": "share of the first forget loss",
            "value": row["share"],
            "bound": BOUND,
            "raised": row["share"] > BOUND,
            "advice": f"set objective.sink_factor={FACTOR:g}",
        }
        for row in rows
        if row.get("kind") == "sinks"
    ]


def _norms_of(objective: Objective) -> list[TokenNorms]:
    return [part for part in objective.modules() if isinstance(part, TokenNorms)]
