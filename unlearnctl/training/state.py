"""Take everything that a trainer needs to resume bit for bit as a plain tree, and put it back.

A sliced model's tensors are gathered one by one for rank 0, so every rank has to take part; put back, each takes its
slice, whatever the number of ranks was before.

The position in the data is the step itself: which rows a batch holds is a function of the seed and the step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import torch
from torch import Tensor

from unlearnctl.models.sharding import for_writing, sliced_like
from unlearnctl.training.loop import Fit, Trainer
from unlearnctl.training.snapshot import (
    State,
    load_objective,
    load_optimizer,
    load_random,
    objective_state,
    random_state,
)
from unlearnctl.utils.errors import UserError


def trainer_state(trainer: Trainer) -> State:
    """Collect trained tensors in the precision of training, optimiser, schedule, objective, random generators.

    The optimiser's is left out once training has ended: nothing would read it.
    """
    scaler = trainer.accelerator.scaler
    return {
        "tensors": {name: for_writing(p.detach()) for name, p in trainer.tapped.trained().items()},
        "fit": asdict(trainer.result),
        "optimizer": None if trainer.done else _optimizer_state(trainer.optimizer),
        "scheduler": trainer.scheduler.state_dict(),
        "scaler": scaler.state_dict() if scaler else None,
        "objective": objective_state(trainer.objective),
        "random": random_state(),
    }


def load_trainer(trainer: Trainer, state: State) -> None:
    """Put a state back into a trainer that was made from the same config and base weights.

    Raises:
        UserError: the state is of other tensors.
    """
    _load_tensors(trainer.tapped.trained(), state["tensors"])
    trainer.result = Fit(**state["fit"])
    # "completed" is also the status of a run under way; that of one that stopped early or diverged stays.
    if trainer.result.status == "interrupted":
        trainer.result.status, trainer.result.stop_reason = "completed", None
    if state["optimizer"]:
        load_optimizer(trainer.optimizer, state["optimizer"])
    trainer.scheduler.load_state_dict(state["scheduler"])
    if trainer.accelerator.scaler and state["scaler"]:
        trainer.accelerator.scaler.load_state_dict(state["scaler"])
    load_objective(trainer.objective, state["objective"])
    trainer.objective.to(trainer.accelerator.device)  # buffers that only the state had
    load_random(state["random"])  # last, so that nothing draws from the generators once they are set


@torch.no_grad()
def _load_tensors(parameters: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    here = {name: (p.dtype, p.shape) for name, p in parameters.items()}
    there = {name: (value.dtype, value.shape) for name, value in saved.items()}
    if here != there:
        name = next(n for n in {**here, **there} if here.get(n) != there.get(n))
        raise UserError(f"the training checkpoint's {name} is {there.get(name)}, the run's {here.get(name)}")
    for name, parameter in parameters.items():
        parameter.copy_(sliced_like(parameter, saved[name]))


def _optimizer_state(optimizer: torch.optim.Optimizer) -> State:
    state = optimizer.state_dict()
    # Gathered one by one, to the CPU: a GPU that holds the slices has no room for the whole.
    moments = {}
    for place, entries in state["state"].items():
        moments[place] = {name: for_writing(v) if isinstance(v, Tensor) else v for name, v in entries.items()}
    return {**state, "state": moments}
