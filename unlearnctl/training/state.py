"""All that a trainer needs to go on to the last bit: taken as plain trees, and put back.

A sliced model's tensors are gathered one by one for rank 0, so every rank has to take part; put back, each takes its
slice, whatever the number of ranks was before.

The position in the data is the step itself: which rows a batch holds is a function of the seed and the step.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

from unlearnctl.models.sharding import for_writing, sliced_like
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from unlearnctl.training.loop import Trainer

State = dict[str, Any]
MODULE = frozenset(vars(nn.Module()))  # what every module has: its buffers, parameters, submodules, hooks


def trainer_state(trainer: Trainer) -> State:
    """Trained tensors in the precision of training, optimiser, schedule, objective, random generators.

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
    trainer.result = type(trainer.result)(**state["fit"])
    if trainer.result.status == "interrupted":
        trainer.result.status, trainer.result.stop_reason = "completed", None
    if state["optimizer"]:
        load_optimizer(trainer.optimizer, state["optimizer"])
    trainer.scheduler.load_state_dict(state["scheduler"])
    if trainer.accelerator.scaler and state["scaler"]:
        trainer.accelerator.scaler.load_state_dict(state["scaler"])
    load_objective(trainer.objective, state["objective"])
    trainer.objective.to(trainer.accelerator.device)  # buffers that only the state had
    load_random(state["random"])


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
    moments = {place: {name: for_writing(v) if isinstance(v, Tensor) else v for name, v in entries.items()}
               for place, entries in state["state"].items()}  # fmt: skip
    return {**state, "state": moments}


def load_optimizer(optimizer: torch.optim.Optimizer, state: State) -> None:
    """`load_state_dict`, but each tensor keeps its dtype where torch would round it to its parameter's."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        place: {
            name: sliced_like(parameters[place], v) if isinstance(v, Tensor) else v
            for name, v in entries.items()
        }
        for place, entries in state["state"].items()
    }
    state = {**state, "state": moments}
    optimizer.load_state_dict(state)
    for place, entries in state["state"].items():
        held = optimizer.state[parameters[place]]
        for name, value in entries.items():
            if isinstance(value, Tensor) and held[name].dtype != value.dtype:
                held[name] = value.to(held[name].device)


def objective_state(objective: nn.Module) -> State:
    """Buffers, parameters and extra state; and every plain value, generator and optimiser of each submodule.

    So a counter, a coefficient that was turned on the way or a scorer with an optimiser of its own need no word
    about checkpoints in the objective. What is none of these goes through `get_extra_state` (of `nn.Module`).
    """
    return {
        "tensors": {**objective.state_dict(), **dict(objective.named_buffers())},
        "values": {name: _values(module) for name, module in objective.named_modules()},
    }


def _values(module: nn.Module) -> State:
    return {name: taken[0] for name, value in vars(module).items()
            if name not in MODULE and (taken := _take(value))}  # fmt: skip


def _take(value: Any) -> tuple[Any] | None:
    """A value as it is kept; None for what is not."""
    if isinstance(value, Generator):
        return (value.get_state(),)
    if isinstance(value, torch.optim.Optimizer):
        return (value.state_dict(),)
    return (value,) if _is_plain(value) else None


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str | int) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str | Tensor)


def load_objective(objective: nn.Module, state: State) -> None:
    """The inverse of `objective_state`, on an objective after `setup`."""
    there = {**objective.state_dict(), **dict(objective.named_buffers())}
    for name, value in state["tensors"].items():
        if isinstance(value, Tensor) and (name not in there or there[name].shape != value.shape):
            owner, _, leaf = name.rpartition(".")  # found on the way, as probes are
            objective.get_submodule(owner).register_buffer(leaf, value)
    objective.load_state_dict(state["tensors"], strict=False)
    buffers = dict(objective.named_buffers())
    for name in buffers.keys() - objective.state_dict().keys():  # those that are not persistent
        buffers[name].copy_(state["tensors"][name])
    for name, values in state["values"].items():
        _put_values(objective.get_submodule(name), values)


def _put_values(module: nn.Module, values: State) -> None:
    for name, value in values.items():
        held = getattr(module, name, None)
        if isinstance(held, Generator):
            held.set_state(value)
        elif isinstance(held, torch.optim.Optimizer):
            load_optimizer(held, value)
        else:
            setattr(module, name, value.to(held.device) if isinstance(held, Tensor) else value)


def random_state() -> State:
    """Of the global generators of torch, Python and NumPy."""
    numpy: Any = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "python": random.getstate(),
        "numpy": (numpy[0], numpy[1].tolist(), *numpy[2:]),
    }


def load_random(state: State) -> None:
    """The inverse of `random_state`; GPUs beyond those that were there keep theirs."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        for device, value in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(value, device)
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
