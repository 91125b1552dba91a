"""Sinks are left out of every loss on hidden states: by their norm in the original model, or by their position."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from tests.objectives.harness import SEEDS, ready, view
from tests.objectives.test_probe_directions import make as probes
from unlearnctl.objectives.base import Objective, Outputs, View
from unlearnctl.objectives.circuit_breaking import CircuitBreaking
from unlearnctl.objectives.npo import NPO
from unlearnctl.objectives.protocols import UsesNorms
from unlearnctl.objectives.retain import EmbedDiff
from unlearnctl.objectives.rmu import RMU
from unlearnctl.objectives.rmu_adaptive import RMUAdaptive
from unlearnctl.objectives.rmu_cosine import RMUCosine
from unlearnctl.objectives.token_norms import Norms, TokenNorms

MAKE: dict[str, Callable[[float | None], Objective]] = {
    "rmu": lambda k: RMU(4, 3.0, 0.7, sink_factor=k),
    "rmu_mean": lambda k: RMU(4, 3.0, 0.7, relative="mean", sink_factor=k),
    "rmu_sequence": lambda k: RMU(4, 3.0, 0.7, "sequence", sink_factor=k),
    "rmu_adaptive": lambda k: RMUAdaptive(4, 3.0, 0.7, "per_topic", sink_factor=k),
    "rmu_adaptive_token": lambda k: RMUAdaptive(4, 3.0, 0.7, "per_token", sink_factor=k),
    "rmu_cosine": lambda k: RMUCosine([1, 4], "away", 2.0, 0.5, sink_factor=k),
    "rmu_cosine_random": lambda k: RMUCosine([1, 4], "random", 2.0, 0.5, sink_factor=k),
    "circuit_breaking": lambda k: CircuitBreaking([1, 4], 10.0, 4, sink_factor=k),
    "probe_directions": lambda k: probes("project", sink_factor=k),
    "embed_diff": lambda k: NPO(0.1, 1.0, 1.0, EmbedDiff([1, 4], sink_factor=k)),
}
LAYERS = (1, 4)
FIRST = torch.tensor([[100.0, 1.0, 1.0]] * 2)  # norms of the first three positions, in medians of 1


def looked(objective: Objective, by_position: Tensor = FIRST) -> Objective:
    """The objective, set up and told norms whose median is 3 at layer 1 and 2.5 at layer 4."""
    median = torch.tensor([3.0, 2.5])
    for part in objective.modules():
        if isinstance(part, UsesNorms) and part.norm_layers():
            part.take_norms(Norms(LAYERS, median, by_position * median[:, None]))
    return ready(objective)


def with_sinks(seed: int, size: float, **where: object) -> View:
    """A view whose first tokens are `size` times as long; if that is negative, they have turned around in training."""
    seen = view(seed, **where)  # type: ignore[arg-type]
    first = ((seen.batch.attention_mask.cumsum(-1) == 1) & seen.batch.attention_mask.bool())[..., None]

    def longer(outputs: Outputs, by: float) -> Outputs:
        return replace(outputs, hidden={n: torch.where(first, by * h, h) for n, h in outputs.hidden.items()})

    return replace(seen, policy=longer(seen.policy, size), frozen=longer(seen.reference, abs(size)))


def loss(objective: Objective, size: float = 1000.0, **where: object) -> Tensor:
    needs = objective.needs()
    views = {side: with_sinks(SEEDS[side], size, **where) for side in needs}
    views = {s: v if needs[s].reference else replace(v, frozen=None) for s, v in views.items()}
    return objective(**views).total


@pytest.mark.parametrize("name", MAKE)
def test_what_a_sink_does_moves_no_loss(name: str) -> None:
    careful, counting = looked(MAKE[name](10.0)), looked(MAKE[name](None))
    assert torch.equal(loss(careful, -500.0), loss(careful, 1000.0))
    assert not torch.isclose(loss(counting, -500.0), loss(counting, 1000.0), rtol=1e-3)


@pytest.mark.parametrize("name", MAKE)
def test_padding_and_batch_split_change_nothing(name: str) -> None:
    objective = looked(MAKE[name](10.0))
    whole = loss(objective)
    for where in ({"side": "left"}, {"width": 14}, {"side": "left", "width": 30}):
        torch.testing.assert_close(loss(objective, **where), whole, atol=1e-6, rtol=1e-5)
    for cuts in ((0, 1, 2, 3, 4), (0, 3, 4)):
        parts = [loss(objective, rows=slice(a, b)) for a, b in pairwise(cuts)]
        torch.testing.assert_close(torch.stack(parts).sum(), whole, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", MAKE)
def test_without_sinks_every_bit_stays(name: str) -> None:
    none = torch.ones(2, 3)
    plain, careful = looked(MAKE[name](None), none), looked(MAKE[name](10.0), none)
    assert torch.equal(loss(careful, 1.0), loss(plain, 1.0))


def test_the_mean_square_of_a_sinks_neighbours_by_hand() -> None:
    """RMU at layer 4, c = 0, forget side alone: ‖h‖²/D summed over all but the first tokens, by the number of all."""
    objective = looked(RMU(4, 1e-12, 0.0, sink_factor=10.0))
    seen = replace(with_sinks(1, 1000.0), frozen=None)
    total, tokens = 0.0, 0
    for row, real in zip(seen.hidden[4], seen.batch.attention_mask.bool(), strict=True):
        kept = row[real]
        tokens += len(kept)
        total += sum(float(h.square().mean()) for h in kept[1:])
    found = objective(forget=seen, retain=with_sinks(2, 1000.0)).terms["forget"]
    assert found.item() == pytest.approx(total / tokens, rel=1e-5)


def test_a_relative_coefficient_counts_in_medians() -> None:
    relative, absolute = looked(RMU(4, 3.0, 0.7, relative=True)), looked(RMU(4, 7.5, 0.7))
    torch.testing.assert_close(loss(relative, 1.0), loss(absolute, 1.0))
    assert not relative.needs()["forget"].reference


def test_norms_are_asked_for_only_where_they_are_used() -> None:
    assert TokenNorms([1], None).norm_layers() == ()
    assert TokenNorms([1], 10.0).norm_layers() == TokenNorms([1], None, scaled=True).norm_layers() == (1,)
