"""Cosine RMU (our reading of arXiv 2605.26454).

By hand: h = (1, 0), h0 = (0.6, 0.8): cos = 0.6. away 0.6, opposite 1.6, orthogonal 0.36;
random with u = (0, 1): 1 − 0 = 1. Retain h = (2, 0), h0 = (1, 0): cosine term 0, norm term (2 − 1)² = 1.
"""

from __future__ import annotations

from typing import get_args

import pytest
import torch
import torch.nn.functional as F

from tests.built import built
from tests.models.tiny import make_batch
from tests.objectives.harness import check_invariances, ready, tokens, view
from unlearnctl.objectives.base import Outputs, View
from unlearnctl.objectives.rmu_cosine import RMUCosine, Target
from unlearnctl.utils.errors import UserError


def one(row: list[float], reference: list[float]) -> View:
    return View(
        make_batch((1,), width=1),
        Outputs({4: torch.tensor([[row]])}),
        Outputs({4: torch.tensor([[reference]])}),
    )


@pytest.mark.parametrize(
    ("target", "expected"), [("random", 1.0), ("away", 0.6), ("opposite", 1.6), ("orthogonal", 0.36)]
)
def test_closed_form(target: str, expected: float) -> None:
    objective = RMUCosine(layer=4, target=target, alpha=10.0, norm_anchor=0.25, tilt=0.0)
    objective.setup(2, 1, torch.Generator())
    objective.control_vector[0] = torch.tensor([0.0, 1.0])
    out = objective(one([1.0, 0.0], [0.6, 0.8]), one([2.0, 0.0], [1.0, 0.0]))
    assert out.terms["forget"].item() == pytest.approx(expected)
    assert out.terms["retain"].item() == pytest.approx(0.0, abs=1e-6)
    assert out.terms["norm"].item() == pytest.approx(1.0)
    assert out.total.item() == pytest.approx(expected + 0.25, abs=1e-5)


@pytest.mark.parametrize(("floor", "expected"), [(0.25, 0.35), (0.6, 0.0), (0.7, 0.0)])
def test_away_leaves_a_token_alone_that_has_turned_to_the_floor(floor: float, expected: float) -> None:
    objective = RMUCosine(layer=4, target="away", alpha=10.0, norm_anchor=0.0, tilt=0.0, floor=floor)
    objective.setup(2, 1, torch.Generator())
    h = torch.tensor([[[1.0, 0.0]]], requires_grad=True)
    turned = View(one([1.0, 0.0], [0.6, 0.8]).batch, Outputs({4: h}), one([1.0, 0.0], [0.6, 0.8]).frozen)
    term = objective(turned, one([2.0, 0.0], [1.0, 0.0])).terms["forget"]
    term.backward()
    assert term.item() == pytest.approx(expected, abs=1e-6)
    assert h.grad is not None
    assert bool(h.grad.any()) == (floor < 0.5)


@pytest.mark.parametrize("target", get_args(Target))
def test_naive_twin_over_two_layers(target: str) -> None:
    objective = ready(RMUCosine(layer=[1, 4], target=target, alpha=3.0, norm_anchor=0.5, tilt=0.3))
    forget, retain = view(1), view(2)
    expected = torch.zeros(())
    for layer in (1, 4):
        steer, keep, norm = [], [], []
        for h, h0 in zip(
            tokens(forget, forget.hidden[layer]), tokens(forget, forget.reference.hidden[layer]), strict=True
        ):
            tilted = h0 + 0.3 * h0.norm() * objective.control_vector[0]
            cos = h @ tilted / (h.norm() * tilted.norm())
            to_random = F.cosine_similarity(h, objective.control_vector[0], dim=0)
            steer.append(
                {"random": 1 - to_random, "away": cos.relu(), "opposite": 1 + cos, "orthogonal": cos**2}[
                    target
                ]
            )
        for h, h0 in zip(
            tokens(retain, retain.hidden[layer]), tokens(retain, retain.reference.hidden[layer]), strict=True
        ):
            keep.append(1 - h @ h0 / (h.norm() * h0.norm()))
            norm.append((h.norm() / h0.norm() - 1) ** 2)
        expected += (sum(steer) / len(steer) + 3 * sum(keep) / len(keep) + 0.5 * sum(norm) / len(norm)) / 2
    torch.testing.assert_close(objective(forget, retain).total, expected)


@pytest.mark.parametrize("target", get_args(Target))
def test_invariances(target: str) -> None:
    check_invariances(ready(RMUCosine(layer=[1, 4], target=target, alpha=3.0, norm_anchor=0.5)))


def test_scale_of_the_stream_does_not_matter_without_anchor() -> None:
    objective = ready(RMUCosine(layer=4, target="away", alpha=3.0, norm_anchor=0.0))
    v, w = view(1), view(2)
    scaled = [View(x.batch, Outputs({4: 7.5 * x.hidden[4]}), x.frozen) for x in (v, w)]
    torch.testing.assert_close(objective(*scaled).total, objective(v, w).total)


def test_random_needs_no_reference_for_the_forget_side() -> None:
    assert not RMUCosine(4, "random", 1.0, 0.0).needs()["forget"].reference
    assert RMUCosine(4, "away", 1.0, 0.0).needs()["forget"].reference


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("layer", []),
        ("layer", -2),
        ("target", "towards"),
        ("alpha", -1.0),
        ("norm_anchor", -0.1),
        ("tilt", -1.0),
        ("floor", 1.0),
        ("floor", -0.1),
    ],
)
def test_wrong_values_are_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"^objective\.{key}="):
        built(
            "objective",
            RMUCosine,
            **{"layer": 4, "target": "away", "alpha": 1.0, "norm_anchor": 0.0, key: value},
        )


@pytest.mark.parametrize("target", ["away", "opposite", "orthogonal"])
def test_the_tilt_gives_the_untouched_model_a_gradient(target: str) -> None:
    """Without it the model starts on a stationary point and only rounding moves it."""
    sizes = {}
    for tilt in (0.0, 0.1):
        objective = ready(RMUCosine(layer=4, target=target, alpha=1.0, norm_anchor=0.0, tilt=tilt))
        h = torch.randn(1, 5, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
        v = View(make_batch((5,), width=5), Outputs({4: h}), Outputs({4: h.detach().clone()}))
        objective(v, v).total.backward()
        assert h.grad is not None
        sizes[tilt] = h.grad.norm().item()
    assert sizes[0.0] < 1e-6
    assert sizes[0.1] > 1e-2
