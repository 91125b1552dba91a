"""Gradient ascent and difference, NPO and SimNPO: published formulas evaluated independently.

By hand for NPO at β = 0.1 with log π_θ = log π_θ0: −(2/0.1) log σ(0) = 20 log 2.
For SimNPO at β = 2, γ = 0 with a mean log-probability of −1: −(2/2) log σ(2) = log(1 + e⁻²).
"""

from __future__ import annotations

import math

import pytest
import torch

from tests.built import built
from tests.models.tiny import make_batch
from tests.objectives.harness import check_invariances, loss, naive_sequence_logprobs, view
from unlearnctl.objectives.base import Objective, Outputs, View
from unlearnctl.objectives.grad_ascent import GradAscent
from unlearnctl.objectives.grad_diff import GradDiff
from unlearnctl.objectives.npo import NPO
from unlearnctl.objectives.retain import KL, NLL
from unlearnctl.objectives.simnpo import SimNPO
from unlearnctl.utils.errors import UserError


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def uniform(logprob: float, reference: float | None = None) -> View:
    """One sequence of five tokens, four predictions, all of one log-probability."""
    batch = make_batch((5,), width=5)
    row = torch.tensor([[0.0] + [logprob] * 4])
    frozen = None if reference is None else Outputs(logprobs=torch.tensor([[0.0] + [reference] * 4]))
    return View(batch, Outputs(logprobs=row), frozen)


def test_npo_closed_form() -> None:
    term = NPO(0.1, 1.0, 1.0, NLL()).forget_term
    assert term(uniform(-1.0, -1.0)).item() == pytest.approx(20 * math.log(2))
    assert term(uniform(-1.0, -2.0)).item() == pytest.approx(-20 * math.log(sigmoid(-0.1 * 4.0)), rel=1e-6)


def test_simnpo_closed_form() -> None:
    assert SimNPO(2.0, 0.0, 1.0, 1.0, NLL()).forget_term(uniform(-1.0)).item() == pytest.approx(
        math.log(1 + math.exp(-2))
    )


def test_npo_independently() -> None:
    v = view(1)
    ours, theirs = naive_sequence_logprobs(v, v.policy), naive_sequence_logprobs(v, v.reference)
    each = [-2 / 0.3 * math.log(sigmoid(-0.3 * (sum(a) - sum(b)))) for a, b in zip(ours, theirs, strict=True)]
    expected = sum(each) / len(each)
    assert NPO(0.3, 1.0, 1.0, NLL()).forget_term(v).item() == pytest.approx(expected, rel=1e-5)


def test_simnpo_independently() -> None:
    v = view(1)
    each = [
        -2 / 0.5 * math.log(sigmoid(-0.5 * sum(a) / len(a) - 0.2))
        for a in naive_sequence_logprobs(v, v.policy)
    ]
    assert SimNPO(0.5, 0.2, 1.0, 1.0, NLL()).forget_term(v).item() == pytest.approx(
        sum(each) / len(each), rel=1e-5
    )


def test_npo_tends_to_gradient_ascent_as_beta_vanishes() -> None:
    """Section 4 of arXiv 2404.05868: the gradient becomes that of the sequence log-probability."""
    row = torch.tensor([[0.0, -1.0, -2.0, -0.5, -1.5]], requires_grad=True)
    v = View(make_batch((5,), width=5), Outputs(logprobs=row), Outputs(logprobs=torch.full((1, 5), -1.0)))
    NPO(1e-4, 1.0, 1.0, NLL()).forget_term(v).backward()
    assert row.grad is not None
    torch.testing.assert_close(row.grad, torch.ones(1, 5), atol=1e-3, rtol=0)


def test_grad_diff_is_ascent_plus_weighted_descent() -> None:
    v, w = view(1), view(2)
    mean = {}
    for name, x in (("forget", v), ("retain", w)):
        flat = [p for row in naive_sequence_logprobs(x, x.policy) for p in row]
        mean[name] = sum(flat) / len(flat)
    out = GradDiff(0.5, 3.0, NLL())(v, w)
    assert out.total.item() == pytest.approx(0.5 * mean["forget"] - 3.0 * mean["retain"], rel=1e-5)
    assert GradAscent()(v).total.item() == pytest.approx(mean["forget"], rel=1e-5)


def test_a_sequence_without_predictions_counts_as_zero_not_nan() -> None:
    batch = make_batch((1, 3), width=3)
    v = View(batch, Outputs(logprobs=torch.tensor([[0.0, 0.0, 0.0], [0.0, -1.0, -1.0]])))
    assert torch.isfinite(SimNPO(1.0, 0.0, 1.0, 1.0, NLL()).forget_term(v))


@pytest.mark.parametrize(
    "objective",
    [
        GradDiff(1.0, 2.0, NLL()),
        NPO(0.1, 1.0, 2.0, KL()),
        NPO(0.1, 1.0, 2.0, NLL()),
        SimNPO(2.5, 0.1, 1.0, 2.0, NLL()),
    ],
)
def test_invariances(objective: Objective) -> None:
    check_invariances(objective)


def test_grad_ascent_runs_no_retain_side() -> None:
    assert set(GradAscent().needs()) == {"forget"}
    torch.testing.assert_close(
        GradAscent()(view(1, side="left", width=30)).total, GradAscent()(view(1)).total, atol=1e-6, rtol=1e-6
    )


def test_terms_are_unweighted() -> None:
    out = loss(NPO(0.1, 0.5, 4.0, NLL()))
    torch.testing.assert_close(out.total, 0.5 * out.terms["forget"] + 4.0 * out.terms["retain"])


@pytest.mark.parametrize(
    ("key", "make"),
    [
        ("beta", lambda: built("objective", NPO, 0.0, 1.0, 1.0, NLL())),
        ("beta", lambda: built("objective", SimNPO, -1.0, 0.0, 1.0, 1.0, NLL())),
        ("gamma", lambda: built("objective", SimNPO, 1.0, -0.1, 1.0, 1.0, NLL())),
        ("forget_coeff", lambda: built("objective", GradDiff, 0.0, 1.0, NLL())),
        ("alpha", lambda: built("objective", GradDiff, 1.0, -1.0, NLL())),
    ],
)
def test_wrong_values_are_refused_by_name(key: str, make) -> None:
    with pytest.raises(UserError, match=rf"^objective\.{key}="):
        make()
