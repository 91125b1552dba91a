"""WGA, SatImp, CE-U, UNDIAL and PDU: published formulas evaluated independently, by loops over logits.

By hand, four predictions of probability ½: WGA at β = 1 is ½ log ½; SatImp at β1 = 2, β2 = 1 is ¼ · ½ · log ½.
Over two tokens of logits (a, b) with the first one true: CE-U's target is the other alone, so −log p_b.
"""

from __future__ import annotations

import math

import pytest
import torch

from tests.built import built
from tests.models.tiny import make_batch
from tests.objectives.harness import check_invariances, loss, naive_sequence_logprobs, view
from tests.training.synthetic import make_trainer
from unlearnctl.objectives.base import Objective, Outputs, View
from unlearnctl.objectives.ceu import CEU
from unlearnctl.objectives.grad_diff import GradDiff
from unlearnctl.objectives.pdu import PDU
from unlearnctl.objectives.retain import KL, NLL
from unlearnctl.objectives.satimp import SatImp
from unlearnctl.objectives.undial import UNDIAL
from unlearnctl.objectives.wga import WGA
from unlearnctl.utils.errors import UserError


def halves() -> View:
    """One sequence of five tokens, four predictions, each of probability one half."""
    row = torch.tensor([[0.0] + [math.log(0.5)] * 4])
    return View(make_batch((5,), width=5), Outputs(logprobs=row))


def rows(v: View, out: Outputs) -> list[tuple[list[float], int]]:
    """(logits, true token) of each prediction, by a loop."""
    assert out.logits is not None
    found = []
    for b in range(v.batch.input_ids.shape[0]):
        places = [t for t in range(v.batch.input_ids.shape[1]) if v.batch.attention_mask[b, t]]
        found += [(out.logits[b, t - 1].tolist(), int(v.batch.input_ids[b, t])) for t in places[1:]]
    return found


def softmax(z: list[float]) -> list[float]:
    top = max(z)
    e = [math.exp(x - top) for x in z]
    return [x / sum(e) for x in e]


def test_by_hand() -> None:
    half = math.log(0.5)
    assert WGA(1.0, 1.0, 1.0, NLL()).forget_term(halves()).item() == pytest.approx(0.5 * half)
    assert SatImp(2.0, 1.0, 1.0, 1.0, NLL()).forget_term(halves()).item() == pytest.approx(0.25 * 0.5 * half)


def test_two_words_by_hand() -> None:
    batch = make_batch((2,), width=2)
    batch.input_ids[0, 1] = 0
    batch.labels[0, 1] = 0
    logits = torch.tensor([[[1.0, 3.0], [0.0, 0.0]]])
    v = View(batch, Outputs(logits=logits), Outputs(logits=logits))
    p = softmax([1.0, 3.0])
    assert CEU(1.0, 1.0, NLL()).forget_term(v).item() == pytest.approx(-math.log(p[1]))
    q = softmax([1.0 - 2.0, 3.0])
    expected = -(q[0] * math.log(p[0]) + q[1] * math.log(p[1]))
    assert UNDIAL(2.0, 1.0, 1.0, NLL()).forget_term(v).item() == pytest.approx(expected)
    assert PDU(0.5, 1.0, 1.0, 1.0, NLL()).forget_term(v).item() == pytest.approx((3.0 - 2.0) ** 2)


def test_weights_independently() -> None:
    v = view(1)
    flat = [x for row in naive_sequence_logprobs(v, v.policy) for x in row]
    wga = sum(math.exp(x) ** 1.7 * x for x in flat) / len(flat)
    satimp = sum(math.exp(x) ** 2.0 * (1 - math.exp(x)) ** 0.5 * x for x in flat) / len(flat)
    assert WGA(1.7, 1.0, 1.0, NLL()).forget_term(v).item() == pytest.approx(wga, rel=1e-5)
    assert SatImp(2.0, 0.5, 1.0, 1.0, NLL()).forget_term(v).item() == pytest.approx(satimp, rel=1e-5)


def test_targets_independently() -> None:
    v = view(1)
    ceu, undial, flat = [], [], []
    for (z, y), (teacher, _) in zip(rows(v, v.policy), rows(v, v.reference), strict=True):
        logp = [math.log(x) for x in softmax(z)]
        q = softmax([x if i != y else -1e9 for i, x in enumerate(z)])
        ceu.append(-sum(a * b for a, b in zip(q, logp, strict=True)))
        q = softmax([x - 3.0 * (i == y) for i, x in enumerate(teacher)])
        undial.append(-sum(a * b for a, b in zip(q, logp, strict=True)))
        flat.append((max(z) - sum(z) / len(z)) ** 2)
    assert CEU(1.0, 1.0, NLL()).forget_term(v).item() == pytest.approx(sum(ceu) / len(ceu), rel=1e-5)
    assert UNDIAL(3.0, 1.0, 1.0, NLL()).forget_term(v).item() == pytest.approx(
        sum(undial) / len(undial), rel=1e-5
    )
    assert PDU(0.0, 0.0, 1.0, 1.0, NLL()).forget_term(v).item() == pytest.approx(
        sum(flat) / len(flat), rel=1e-5
    )


def test_wga_without_weight_is_gradient_difference() -> None:
    torch.testing.assert_close(
        loss(WGA(0.0, 1.0, 2.0, NLL())).total, loss(GradDiff(1.0, 2.0, NLL())).total, atol=1e-6, rtol=1e-6
    )


def test_the_weight_carries_no_gradient() -> None:
    """d/dx of p^β x with p held fixed is p^β / n."""
    row = torch.tensor([[0.0, -1.0, -2.0, -0.5, -1.5]], requires_grad=True)
    v = View(make_batch((5,), width=5), Outputs(logprobs=row))
    WGA(2.0, 1.0, 1.0, NLL()).forget_term(v).backward()
    assert row.grad is not None
    torch.testing.assert_close(row.grad[0, 1:], (2.0 * row.detach()[0, 1:]).exp() / 4)


def test_the_multiplier_follows_the_retain_loss() -> None:
    objective = PDU(bound=0.5, dual_step=2.0, forget_coeff=1.0, alpha=1.0, retain=NLL())
    objective.after_step({"retain": 0.75})
    assert objective.multiplier.item() == pytest.approx(1.5)
    objective.after_step({"retain": 0.0})
    assert objective.multiplier.item() == pytest.approx(0.5)
    objective.after_step({"retain": 0.0})
    assert objective.multiplier.item() == 0.0
    trainer = make_trainer(PDU(0.5, 1.0, 1.0, 1.0, NLL()), steps=3)
    trainer.fit()
    assert trainer.objective.multiplier.item() > 1.0  # a random model's loss is far above the bound


@pytest.mark.parametrize(
    "objective",
    [
        WGA(2.0, 1.0, 2.0, NLL()),
        SatImp(2.0, 0.5, 1.0, 2.0, KL()),
        CEU(1.0, 2.0, NLL()),
        UNDIAL(3.0, 1.0, 2.0, NLL()),
        PDU(0.5, 1.0, 1.0, 2.0, NLL()),
    ],
    ids=lambda o: type(o).__name__,
)
def test_invariances(objective: Objective) -> None:
    check_invariances(objective)


@pytest.mark.parametrize(
    ("key", "make"),
    [
        ("beta", lambda: built("objective", WGA, -1.0, 1.0, 1.0, NLL())),
        ("beta1", lambda: built("objective", SatImp, -1.0, 0.0, 1.0, 1.0, NLL())),
        ("beta2", lambda: built("objective", SatImp, 1.0, -0.1, 1.0, 1.0, NLL())),
        ("beta", lambda: built("objective", UNDIAL, 0.0, 1.0, 1.0, NLL())),
        ("bound", lambda: built("objective", PDU, -1.0, 1.0, 1.0, 1.0, NLL())),
        ("dual_step", lambda: built("objective", PDU, 1.0, -1.0, 1.0, 1.0, NLL())),
    ],
)
def test_wrong_values_are_refused_by_name(key: str, make) -> None:
    with pytest.raises(UserError, match=rf"^objective\.{key}="):
        make()
