"""ATWU and the token weights: closed forms, the scorer's gradient against autograd on the whole loss, plug-ins.

By hand: g = ½ everywhere at the start, so at β = 0 ATWU is half of gradient difference; at β the factor is p^(β/2).
"""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from sklearn.metrics import roc_auc_score

from tests.built import built
from tests.objectives.harness import D, check_invariances, loss, naive_sequence_logprobs, view
from tests.training.synthetic import make_trainer
from unlearnctl.objectives.atwu import ATWU
from unlearnctl.objectives.base import Objective, Outputs, View
from unlearnctl.objectives.grad_diff import GradDiff
from unlearnctl.objectives.npo import NPO
from unlearnctl.objectives.retain import NLL
from unlearnctl.objectives.simnpo import SimNPO
from unlearnctl.objectives.token_weights import Learned, Probability, TokenWeights
from unlearnctl.objectives.wga import WGA
from unlearnctl.utils.errors import UserError

SETTINGS = {
    "every": 1, "lr": 0.05, "momentum": 0.0, "weight_decay": 0.0, "clip": 1e9, "decay_steps": 10**9, "entropy": 0.7,
    "population": 3.0, "share": 0.2, "l2": 0.1, "shift": "own", "loss": "raw",
}  # fmt: skip


def learned(**changes: object) -> Learned:
    weights = Learned(**{**SETTINGS, **changes})  # type: ignore[arg-type]
    weights.setup(D)
    return weights


def stirred(**changes: object) -> Learned:
    """A scorer away from its start, so that no term is symmetric."""
    weights = learned(**changes)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        weights.scorer.weight.copy_(torch.randn(1, D, generator=generator))
        weights.scorer.bias.fill_(0.3)
    return weights


def test_at_the_start_every_weight_is_a_half() -> None:
    v = view(1)
    g = learned()(v)
    assert torch.equal(g, torch.where(v.predicted, 0.5, 0.0))
    flat = [x for row in naive_sequence_logprobs(v, v.policy) for x in row]
    for beta in (0.0, 5.0):
        expected = sum(0.5 * x * math.exp(0.5 * x) ** beta for x in flat) / len(flat)
        term = ATWU(beta, 1.0, 1.0, NLL(), learned()).forget_term(v)
        assert term.item() == pytest.approx(expected, rel=1e-5)


def test_atwu_independently() -> None:
    v, weights = view(1), stirred()
    g = weights(v)
    total, count = 0.0, 0
    for b, row in enumerate(naive_sequence_logprobs(v, v.policy)):
        places = v.batch.attention_mask[b].nonzero()[:, 0].tolist()[1:]
        for t, x in zip(places, row, strict=True):
            total += g[b, t].item() * x * math.exp(g[b, t].item() * x) ** 5
            count += 1
    assert ATWU(5.0, 1.0, 1.0, NLL(), weights).forget_term(v).item() == pytest.approx(total / count, rel=1e-5)


def test_scores_read_the_state_of_the_token_or_of_the_one_before() -> None:
    v, weights = view(1), stirred()
    assert v.policy.final is not None
    state = v.policy.final[1, 4]
    expected = torch.sigmoid(state @ weights.scorer.weight[0] + weights.scorer.bias[0]).item()
    assert weights(v)[1, 4].item() == pytest.approx(expected, rel=1e-5)
    unit = state / (state.square().mean() + torch.finfo(torch.float32).eps).sqrt()
    scaled = torch.sigmoid(unit @ weights.scorer.weight[0] + weights.scorer.bias[0]).item()
    assert stirred(normalised=True)(v)[1, 4].item() == pytest.approx(scaled, rel=1e-5)
    assert abs(scaled - expected) > 1e-4
    before = stirred(shift="previous")
    assert before(v)[1, 5].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("kind", "relative"), [("raw", False), ("known", False), ("raw", True)])
def test_the_scorer_descends_its_whole_loss(kind: str, relative: bool) -> None:
    """SGD without momentum: the step is −lr times autograd's gradient of the loss written out in one piece."""
    v, weights = view(1), stirred(loss=kind, relative=relative)
    twin = stirred(loss=kind)
    weights.observe(v)
    weights.after_step()
    g = twin.logits(v).sigmoid()[v.predicted]
    nll = -v.logprobs[v.predicted]
    assert v.reference.logprobs is not None
    before = v.reference.logprobs[v.predicted]
    ell = nll if kind == "raw" else before.exp() * (nll + before).clamp_min(0)
    ell = ell / ell.mean() if relative else ell
    spread = -(g * g.log() + (1 - g) * (1 - g).log())
    above = ((g > 0.5).float() - g).detach() + g
    whole = (
        ((1 - g) * ell).mean() + 0.7 * spread.mean() + 3.0 * (above.mean() - 0.2) ** 2
        + 0.1 * twin.scorer.weight.square().sum()
    )  # fmt: skip
    whole.backward()
    for ours, theirs in zip(weights.scorer.parameters(), twin.scorer.parameters(), strict=True):
        assert theirs.grad is not None
        torch.testing.assert_close(ours.data, theirs.data - 0.05 * theirs.grad, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("cuts", [(0, 1, 2, 3, 4), (0, 3, 4)])
def test_the_scorers_step_does_not_depend_on_the_batch_split(cuts: tuple[int, ...]) -> None:
    whole, parts = stirred(), stirred()
    whole.observe(view(1))
    whole.after_step()
    for a, b in pairwise(cuts):
        parts.observe(view(1, rows=slice(a, b), side="left", width=20))
    parts.after_step()
    torch.testing.assert_close(parts.scorer.weight, whole.scorer.weight, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(parts.scorer.bias, whole.scorer.bias, atol=1e-6, rtol=1e-6)


def test_when_it_learns() -> None:
    weights = stirred(every=3, until=4, decay_steps=6)
    moved = []
    for _ in range(9):
        before = weights.scorer.weight.clone()
        weights.observe(view(1))
        weights.after_step()
        moved.append(not torch.equal(before, weights.scorer.weight))
    assert moved == [False, False, True] + [False] * 6
    weights = stirred(every=2, decay_steps=6)
    for _ in range(8):
        weights.observe(view(1))
        weights.after_step()
    assert weights.optimizer.param_groups[0]["lr"] == 0.0


def test_weights_have_no_gradient_and_the_scorer_none_of_the_models() -> None:
    objective = ATWU(5.0, 1.0, 1.0, NLL(), stirred())
    row = torch.tensor(-1.0).expand(4, 9).clone().requires_grad_(True)
    v = view(1)
    shaped = View(v.batch, Outputs(logprobs=row, final=v.policy.final))
    objective.forget_term(shaped).backward()
    assert all(p.grad is None for p in objective.parameters())
    g = objective.token_weights(shaped)
    assert row.grad is not None
    expected = torch.where(v.predicted, g * (-g * 5.0).exp() / v.batch.predictions, 0.0)
    torch.testing.assert_close(row.grad, expected, atol=1e-7, rtol=1e-5)


def test_it_finds_the_tokens_that_matter_where_the_loss_shows_them() -> None:
    """States with one telling coordinate; loss is high there: the scorer ranks them first and keeps to its share."""
    v = view(1)
    telling = (v.batch.input_ids % 5 == 0) & v.predicted
    states = 0.3 * torch.randn(*v.batch.input_ids.shape, D)
    states[..., 0] = torch.where(telling, 2.0, -1.0)
    row = torch.where(v.predicted, torch.where(telling, -4.0, -0.5), 0.0)
    seen = View(v.batch, Outputs(logprobs=row, final=states))
    weights = learned(momentum=0.9, l2=0.001, normalised=True)
    for _ in range(200):
        weights.observe(seen)
        weights.after_step()
    g = weights(seen)
    assert roc_auc_score(telling[v.predicted], g[v.predicted]) > 0.99
    assert g[telling].mean() > 0.8
    assert g[v.predicted & ~telling].mean() < 0.3


@pytest.mark.parametrize(
    ("weighted", "plain"),
    [
        (GradDiff(1.0, 2.0, NLL(), Probability(0.0)), GradDiff(1.0, 2.0, NLL())),
        (GradDiff(1.0, 2.0, NLL(), Probability(1.7)), WGA(1.7, 1.0, 2.0, NLL())),
        (NPO(0.1, 1.0, 2.0, NLL(), Probability(0.0)), NPO(0.1, 1.0, 2.0, NLL())),
        (SimNPO(2.0, 0.1, 1.0, 2.0, NLL(), Probability(0.0)), SimNPO(2.0, 0.1, 1.0, 2.0, NLL())),
    ],
)
def test_plugged_into_other_losses(weighted: Objective, plain: Objective) -> None:
    torch.testing.assert_close(loss(weighted).total, loss(plain).total, atol=1e-6, rtol=1e-6)


def test_weighted_npo_independently() -> None:
    v = view(1)
    ours, theirs = naive_sequence_logprobs(v, v.policy), naive_sequence_logprobs(v, v.reference)
    each = []
    for a, b in zip(ours, theirs, strict=True):
        ratio = sum(math.exp(x) ** 0.5 * (x - y) for x, y in zip(a, b, strict=True))
        each.append(2 / 0.3 * math.log(1 + math.exp(0.3 * ratio)))
    term = NPO(0.3, 1.0, 1.0, NLL(), Probability(0.5)).forget_term(v)
    assert term.item() == pytest.approx(sum(each) / len(each), rel=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ATWU(5.0, 1.0, 2.0, NLL(), stirred()),
        lambda: ATWU(5.0, 1.0, 2.0, NLL(), stirred(shift="previous", loss="known")),
        lambda: NPO(0.1, 1.0, 2.0, NLL(), stirred()),
        lambda: SimNPO(2.0, 0.0, 1.0, 2.0, NLL(), Probability(1.0)),
    ],
)
def test_invariances(make) -> None:
    objective = make()
    check_invariances(objective)


def test_in_training_the_scorer_learns_beside_the_model() -> None:
    weights = Learned(**{**SETTINGS, "every": 2, "clip": 1.0})  # type: ignore[arg-type]
    trainer = make_trainer(ATWU(1.0, 1.0, 1.0, NLL(), weights), steps=4, micro_batch=4)
    assert trainer.fit().steps == 4
    assert weights.scorer.weight.abs().sum() > 0
    assert weights.steps == 4


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("every", 0), ("decay_steps", 0), ("lr", 0.0), ("clip", 0.0), ("entropy", -1.0), ("population", -1.0),
        ("l2", -1.0), ("share", 1.0), ("shift", "next"), ("loss", "cooked"), ("until", -1),
    ],
)  # fmt: skip
def test_wrong_weights_are_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"^objective\.token_weights\.{key}="):
        built("objective.token_weights", Learned, **{**SETTINGS, key: value})


def test_wrong_beta_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"^objective\.beta=-1\.0"):
        built("objective", ATWU, -1.0, 1.0, 1.0, NLL(), TokenWeights())
    with pytest.raises(UserError, match=r"^objective\.token_weights\.beta=-1\.0"):
        built("objective.token_weights", Probability, -1.0)
