"""Adaptive RMU: c = s · ‖h(x_f; θ0)‖ (arXiv 2408.06223)."""

from __future__ import annotations

import pytest
import torch

from tests.built import built
from tests.objectives.harness import check_invariances, loss, ready, tokens, view
from unlearnctl.objectives.rmu import RMU
from unlearnctl.objectives.rmu_adaptive import RMUAdaptive
from unlearnctl.utils.errors import UserError


@pytest.mark.parametrize("granularity", ["per_topic", "per_token"])
def test_naive_twin(granularity: str) -> None:
    objective = ready(RMUAdaptive(layer=4, scale_factor=5.0, alpha=0.5, granularity=granularity))
    forget, retain = view(1), view(2)
    norms = [float(h.norm()) for h in tokens(forget, forget.reference.hidden[4])]
    lengths = norms if granularity == "per_token" else [sum(norms) / len(norms)] * len(norms)
    steer = [
        (h - 5.0 * n * objective.control_vector[0]).square().mean()
        for h, n in zip(tokens(forget, forget.hidden[4]), lengths, strict=True)
    ]
    torch.testing.assert_close(objective(forget, retain).terms["forget"], sum(steer) / len(steer))


@pytest.mark.parametrize("granularity", ["per_topic", "per_token"])
def test_invariances(granularity: str) -> None:
    check_invariances(ready(RMUAdaptive(layer=4, scale_factor=5.0, alpha=0.5, granularity=granularity)))


def test_per_topic_is_rmu_with_a_relative_coefficient() -> None:
    adaptive = ready(RMUAdaptive(layer=4, scale_factor=5.0, alpha=0.5, granularity="per_topic"))
    relative = ready(RMU(layer=4, steering_coeff=5.0, alpha=0.5, relative="mean"))
    assert torch.equal(loss(adaptive).total, loss(relative).total)


@pytest.mark.parametrize(("key", "value"), [("scale_factor", 0.0), ("granularity", "per_layer")])
def test_wrong_values_are_refused_by_name(key: str, value: object) -> None:
    given = {"layer": 4, "scale_factor": 5.0, "alpha": 1.0, "granularity": "per_topic", key: value}
    with pytest.raises(UserError, match=rf"^objective\.{key}="):
        built("objective", RMUAdaptive, **given)
