"""Leave-one-out in closed form is leave-one-out, finds what is planted, and finds nothing in noise."""

from __future__ import annotations

import pytest
import torch

from unlearnctl.probes.separability import RIDGE, separability


def naive(states: torch.Tensor, positive: torch.Tensor) -> float:
    """Fit ridge regression once for each text that is left out."""
    scaled = (states - states.mean(0)) / (states.std(0) + 1e-6)
    rows = torch.cat([scaled / states.shape[1] ** 0.5, torch.ones(len(states), 1)], 1).double()
    sides = torch.where(positive, 1.0, -1.0).double()
    right = 0
    for out in range(len(rows)):
        kept = torch.arange(len(rows)) != out
        x, y = rows[kept], sides[kept]
        weight = torch.linalg.solve(x.T @ x + RIDGE * torch.eye(x.shape[1]).double(), x.T @ y)
        right += int((rows[out] @ weight > 0) == positive[out])
    return right / len(rows)


def test_the_closed_form_is_that_of_one_fit_for_each_text() -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(24, 2, 6, generator=generator)
    positive = torch.arange(24) < 10
    states[positive, 1, 0] += 1.0
    found = separability(states, positive)
    assert found.tolist() == pytest.approx([naive(states[:, layer], positive) for layer in (0, 1)])


def test_a_planted_direction_is_found_and_noise_is_chance() -> None:
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(128, 2, 200, generator=generator)
    positive = torch.arange(128) % 2 == 0
    states[positive, 0] += 1.0
    planted, noise = separability(states, positive).tolist()
    assert planted == 1.0
    assert 0.35 < noise < 0.65  # 128 texts: a standard error of .044
