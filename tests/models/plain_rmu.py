"""RMU as its paper writes it, with two whole models: what the engine's steps are compared with."""

from __future__ import annotations

import copy

import torch
from torch import nn

from tests.models.tiny import make_batch
from unlearnctl.data.batch import Batch
from unlearnctl.models.partial.tapped import TappedModel
from unlearnctl.objectives.rmu import RMU


def plain_rmu_step(
    policy: nn.Module, frozen: nn.Module, objective: RMU, forget: Batch, retain: Batch
) -> torch.Tensor:
    """Compute the loss of one step: full forwards of two models, MSE over the real tokens."""

    def hidden(model: nn.Module, batch: Batch) -> torch.Tensor:
        out = model(
            batch.input_ids, attention_mask=batch.attention_mask, output_hidden_states=True, use_cache=False
        )
        return out.hidden_states[objective.layer + 1][batch.mask]

    steer = (hidden(policy, forget) - objective.steering_coeff * objective.control_vector[0]).pow(2).mean()
    with torch.no_grad():
        kept = hidden(frozen, retain)
    return steer + objective.alpha * (hidden(policy, retain) - kept).pow(2).mean()


def assert_same_steps(
    tapped: TappedModel, theirs: nn.Module, objective: RMU, steps: int, side: str = "right"
) -> None:
    """Train a tapped model and a whole one that start alike; losses and trained weights must agree."""
    frozen = copy.deepcopy(theirs)
    trained = {name: p for name, p in theirs.named_parameters() if name in tapped.trainable}
    assert len(trained) == len(tapped.trainable)
    optimizers = [torch.optim.AdamW(each.values(), lr=1e-3) for each in (tapped.trained(), trained)]
    for step in range(steps):
        batches = {
            "forget": make_batch((13, 20, 7), side, seed=step),
            "retain": make_batch((9, 16, 24), side, width=24, seed=50 + step),
        }
        views = tapped(batches)
        mine = objective(views["forget"], views["retain"]).total
        plain = plain_rmu_step(theirs, frozen, objective, batches["forget"], batches["retain"])
        torch.testing.assert_close(mine, plain, atol=1e-6, rtol=1e-6)
        for optimizer, loss in zip(optimizers, (mine, plain), strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for name, parameter in trained.items():
        assert (parameter - tapped.trained()[name]).abs().max() <= 1e-6, name
