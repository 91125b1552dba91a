"""Matrices are measured by kind, and a config's rate is said in the unit in which rates are tried."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from unlearnctl.tuning.look import effective_rate, rms_by_kind


def test_matrices_of_one_kind_are_measured_together() -> None:
    weights = {
        "model.layers.0.mlp.down_proj.weight": torch.full((2, 2), 0.1),
        "model.layers.1.mlp.down_proj.weight": torch.full((2, 2), -0.3),
        "model.layers.1.mlp.experts.7.up.weight": torch.full((2, 2), 0.5),
        "model.layers.1.norm.weight": torch.ones(2),
        "model.embed_tokens.weight": torch.ones(2, 2),
    }
    found = rms_by_kind(weights, "model.layers")
    assert found == {"mlp.down_proj": pytest.approx(0.2), "mlp.experts.up": pytest.approx(0.5)}


@pytest.mark.parametrize(
    ("lr", "relative", "rate"), [(1e-3, None, 0.005), (None, 0.02, 0.02), (None, None, 0.005)]
)
def test_the_rate_of_a_config_is_relative_to_what_trains(
    lr: float | None, relative: float | None, rate: float
) -> None:
    settings = SimpleNamespace(optimizer={"lr": lr}, relative_lr=relative)
    objective = SimpleNamespace(needs=lambda: {"forget": SimpleNamespace(head=False)})
    prepared: Any = SimpleNamespace(settings=settings, objective=objective)
    assert effective_rate(prepared, 0.2) == pytest.approx(rate)
