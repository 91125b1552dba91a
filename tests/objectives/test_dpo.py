"""DPO, IdkDPO and AltPO: the published formula by hand and by loops.

By hand at β = 0.1: with both log ratios zero, −(2/0.1) log σ(0) = 20 log 2. With the preferred one at zero it is NPO.
"""

from __future__ import annotations

import math

import pytest
import torch

from tests.built import built
from tests.models.tiny import make_batch
from tests.objectives.harness import check_invariances, loss, naive_sequence_logprobs, view
from unlearnctl.objectives.altpo import AltPO
from unlearnctl.objectives.base import Objective, Outputs, View
from unlearnctl.objectives.dpo import DPO
from unlearnctl.objectives.idk_dpo import IdkDPO
from unlearnctl.objectives.npo import NPO
from unlearnctl.objectives.retain import KL, NLL
from unlearnctl.utils.errors import UserError


def uniform(logprob: float, reference: float) -> View:
    batch = make_batch((5,), width=5)
    ours, theirs = (Outputs(logprobs=torch.tensor([[0.0] + [x] * 4])) for x in (logprob, reference))
    return View(batch, ours, theirs)


def test_by_hand() -> None:
    dpo, same = DPO(0.1, 1.0, 1.0, NLL()), uniform(-1.0, -1.0)
    assert dpo.preference(same, same).item() == pytest.approx(20 * math.log(2))
    better = dpo.preference(uniform(-2.0, -1.0), uniform(-0.5, -1.0)).item()
    margin = 4 * 0.5 - 4 * -1.0
    assert better == pytest.approx(20 * math.log(1 + math.exp(-0.1 * margin)), rel=1e-6)


def test_it_is_npo_when_the_alternate_has_not_moved() -> None:
    v = view(1)
    still = View(v.batch, v.policy, v.policy)
    torch.testing.assert_close(
        DPO(0.3, 1.0, 1.0, NLL()).preference(v, still), NPO(0.3, 1.0, 1.0, NLL()).forget_term(v)
    )


@pytest.mark.parametrize(("make", "side"), [(DPO, "alternate"), (IdkDPO, "refusal"), (AltPO, "alternate")])
def test_independently(make: type[DPO], side: str) -> None:
    objective = make(0.3, 0.7, 2.0, NLL())
    assert set(objective.needs()) == {"forget", "retain", side}
    views = {"forget": view(1), "retain": view(2), side: view(3)}
    ratio = {}
    for name in ("forget", side):
        v = views[name]
        ours, theirs = naive_sequence_logprobs(v, v.policy), naive_sequence_logprobs(v, v.reference)
        ratio[name] = [sum(a) - sum(b) for a, b in zip(ours, theirs, strict=True)]
    each = [
        2 / 0.3 * math.log(1 + math.exp(-0.3 * (a - f)))
        for a, f in zip(ratio[side], ratio["forget"], strict=True)
    ]
    flat = [x for row in naive_sequence_logprobs(views["retain"], views["retain"].policy) for x in row]
    expected = 0.7 * sum(each) / len(each) - 2.0 * sum(flat) / len(flat)
    out = objective(**views)
    assert out.total.item() == pytest.approx(expected, rel=1e-5)
    assert out.part("forget").item() == pytest.approx(0.7 * sum(each) / len(each), rel=1e-5)


def test_gradients_push_the_two_texts_apart() -> None:
    rows = [torch.tensor([[0.0, -1.0, -2.0, -0.5, -1.5]], requires_grad=True) for _ in range(2)]
    still = Outputs(logprobs=torch.full((1, 5), -1.0))
    forget, instead = (View(make_batch((5,), width=5), Outputs(logprobs=row), still) for row in rows)
    DPO(0.1, 1.0, 1.0, NLL()).preference(forget, instead).backward()
    assert rows[0].grad is not None
    assert rows[1].grad is not None
    assert (rows[0].grad > 0).all()
    torch.testing.assert_close(rows[1].grad, -rows[0].grad)


@pytest.mark.parametrize(
    "objective", [DPO(0.1, 1.0, 2.0, NLL()), IdkDPO(0.1, 1.0, 2.0, KL()), AltPO(0.3, 1.0, 2.0, NLL())]
)
def test_invariances(objective: Objective) -> None:
    check_invariances(objective)


def test_wrong_values_are_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"^objective\.beta=0\.0: must be a positive number"):
        built("objective", DPO, 0.0, 1.0, 1.0, NLL())


def test_terms_are_unweighted() -> None:
    out = loss(DPO(0.1, 0.5, 4.0, NLL()))
    torch.testing.assert_close(out.total, 0.5 * out.terms["forget"] + 4.0 * out.terms["retain"])
