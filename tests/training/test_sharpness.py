"""Sharpness-aware steps: the perturbation in closed form, and a naive twin of a whole step.

By hand: g = (3, 4) and rho = 0.5 give delta = 0.5 · g/5 = (0.3, 0.4).
"""

from __future__ import annotations

import pytest
import torch

from tests.training.synthetic import make_trainer
from tests.training.two_ranks import scorer
from unlearnctl.objectives.npo import NPO
from unlearnctl.objectives.retain import NLL
from unlearnctl.objectives.token_weights import Learned
from unlearnctl.training.settings import TrainerSettings
from unlearnctl.training.sharpness import ascent, perturbed
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.validate import read


def test_ascent_by_hand_over_all_parameters_together() -> None:
    a, b, idle = (torch.nn.Parameter(torch.zeros(1)) for _ in range(3))
    a.grad, b.grad = torch.tensor([3.0]), torch.tensor([4.0])
    delta = ascent([a, b, idle], 0.5)
    assert [d.item() for d in delta] == pytest.approx([0.3, 0.4, 0.0])
    assert a.grad is None
    assert b.grad is None


def test_a_zero_gradient_moves_nothing() -> None:
    p = torch.nn.Parameter(torch.ones(2))
    p.grad = torch.zeros(2)
    assert torch.equal(ascent([p], 0.5)[0], torch.zeros(2))


def test_weights_come_back_to_the_last_bit_also_after_an_error() -> None:
    p = torch.nn.Parameter(torch.tensor([0.1, 1e8]))
    before = p.detach().clone()
    with pytest.raises(ZeroDivisionError), perturbed([p], [torch.tensor([1e-9, 0.3])]):
        raise ZeroDivisionError
    assert torch.equal(p.detach(), before)


def gradient(rho: float, micro: int = 8) -> dict[str, torch.Tensor]:
    trainer = make_trainer(NPO(0.5, 1.0, 0.7, NLL()), sharpness=rho, micro_batch=micro)
    trainer.gradients(trainer.batches(0))
    return {n: p.grad.clone() for n, p in trainer.tapped.trained().items() if p.grad is not None}


def test_the_step_against_a_naive_twin() -> None:
    """∇ retain at θ, plus ∇ forget at θ + δ."""
    twin = make_trainer(NPO(0.5, 1.0, 0.7, NLL()))
    names = list(twin.tapped.trained())
    parameters = list(twin.tapped.trained().values())
    (micro,) = twin.batches(0)

    def grads(part: str) -> list[torch.Tensor]:
        loss = twin.objective(**twin.tapped(micro)).part(part)
        return [
            torch.zeros_like(p) if g is None else g
            for p, g in zip(parameters, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True)
        ]

    forget, rest = grads("forget"), grads("rest")
    norm = torch.sqrt(sum(g.square().sum() for g in forget))  # type: ignore[arg-type]
    with torch.no_grad():
        for p, g in zip(parameters, forget, strict=True):
            p.add_(0.3 * g / norm)
    moved = grads("forget")
    ours = gradient(0.3)
    for name, a, b in zip(names, rest, moved, strict=True):
        torch.testing.assert_close(ours[name], a + b, atol=1e-6, rtol=1e-4)
    flat = gradient(0.0)
    assert any(not torch.allclose(flat[n], ours[n], atol=1e-4) for n in names)


def test_batch_split_changes_nothing() -> None:
    whole, split = gradient(0.3), gradient(0.3, micro=2)
    for name, value in whole.items():
        torch.testing.assert_close(split[name], value, atol=1e-6, rtol=1e-4)


def test_token_weights_learn_from_one_pass_alone() -> None:
    seen = []
    for rho in (0.0, 0.3):
        objective = NPO(0.5, 1.0, 0.7, NLL(), scorer())
        trainer = make_trainer(objective, sharpness=rho)
        objective.after_step({})  # so that the coming step is one of the scorer's
        trainer.gradients(trainer.batches(0))
        assert objective.training
        assert isinstance(objective.token_weights, Learned)
        seen.append(objective.token_weights._observed)
    assert set(seen[0]) == {"kept", "entropy", "above", "share", "loss"}
    for name, value in seen[0].items():
        torch.testing.assert_close(seen[1][name], value)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"sharpness": -1.0}, r"trainer\.sharpness=-1\.0: must be a number, 0 or more"),
        ({"sharpness": 0.1, "sharding": "fsdp"}, r"trainer\.sharpness=0\.1: not with sharding=fsdp"),
    ],
)
def test_wrong_settings(change: dict, line: str) -> None:
    with pytest.raises(UserError, match=line):
        read(TrainerSettings, "trainer", {"steps": 1, "global_batch": 4, "optimizer": {"lr": 1e-3}, **change})
