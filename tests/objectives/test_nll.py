"""Plain finetuning: the mean surprise of retain tokens, in closed form and by a loop; nothing else is run or forgets.

By hand, four predictions of probability ½: log 2 nats. Its gradient with respect to each of them is −1/4.
"""

from __future__ import annotations

import math

import pytest
import torch

from tests.models.tiny import make_batch
from tests.objectives.harness import check_invariances, loss, naive_sequence_logprobs, view
from tests.training.synthetic import make_trainer
from unlearnctl.objectives.base import Outputs, View
from unlearnctl.objectives.grad_diff import GradDiff
from unlearnctl.objectives.nll import NLL
from unlearnctl.objectives.retain import NLL as RetainNLL
from unlearnctl.utils.errors import UserError


def test_closed_form_and_gradient() -> None:
    row = torch.tensor([[0.0] + [math.log(0.5)] * 4], requires_grad=True)
    total = NLL()(View(make_batch((5,), width=5), Outputs(logprobs=row))).total
    assert total.item() == pytest.approx(math.log(2))
    total.backward()
    torch.testing.assert_close(row.grad, torch.tensor([[0.0] + [-0.25] * 4]))


def test_independently_and_as_the_retain_part_of_gradient_difference() -> None:
    flat = [x for row in naive_sequence_logprobs(view(2), view(2).policy) for x in row]
    assert loss(NLL()).total.item() == pytest.approx(-sum(flat) / len(flat), rel=1e-5)
    torch.testing.assert_close(
        loss(NLL()).terms["retain"], loss(GradDiff(1.0, 1.0, RetainNLL())).terms["retain"]
    )


def test_invariances() -> None:
    check_invariances(NLL())


def test_it_learns_the_retain_side_alone() -> None:
    assert set(NLL().needs()) == {"retain"}
    trainer = make_trainer(NLL(), steps=8, optimizer={"lr": 0.01})
    losses: list[float] = []
    trainer.on_step = lambda row: losses.append(row["loss"])
    trainer.fit()
    assert losses[-1] < 0.9 * losses[0]


def test_nothing_of_it_forgets() -> None:
    with pytest.raises(UserError, match="does not say what forgets"):
        loss(NLL()).part("forget")
