"""Take the state of objectives, optimisers and random generators as plain trees, and put it back."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

from unlearnctl.models.sharding import sliced_like

State = dict[str, Any]
MODULE = frozenset(vars(nn.Module()))  # what every module has: its buffers, parameters, submodules, hooks


def snapshot(objective: nn.Module) -> Callable[[], None]:
    """Remember an objective and the random generators; returns what puts them back, as often as it is called."""
    kept, generators = copy.deepcopy(objective_state(objective)), random_state()

    def restore() -> None:
        # Copied again, because the objective keeps what it is given, and would change what was remembered.
        load_objective(objective, copy.deepcopy(kept))
        load_random(generators)

    return restore


def load_optimizer(optimizer: torch.optim.Optimizer, state: State) -> None:
    """Load a state dict so that each tensor keeps its dtype, where torch would round it to its parameter's."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {}
    for place, entries in state["state"].items():
        moments[place] = {
            name: sliced_like(parameters[place], v) if isinstance(v, Tensor) else v
            for name, v in entries.items()
        }
    state = {**state, "state": moments}
    optimizer.load_state_dict(state)
    # torch casts moments to the parameter's dtype while it loads, so those kept in another are put back afterwards.
    for place, entries in state["state"].items():
        held = optimizer.state[parameters[place]]
        for name, value in entries.items():
            if isinstance(value, Tensor) and held[name].dtype != value.dtype:
                held[name] = value.to(held[name].device)


def objective_state(objective: nn.Module) -> State:
    """Collect buffers, parameters and extra state, and every plain value, generator and optimiser of each submodule.

    So a counter, a coefficient that was turned on the way or a scorer with an optimiser of its own need no word
    about checkpoints in the objective. What is none of these goes through `get_extra_state` (of `nn.Module`).
    """
    return {
        "tensors": {**objective.state_dict(), **dict(objective.named_buffers())},
        "values": {name: _values(module) for name, module in objective.named_modules()},
    }


def _values(module: nn.Module) -> State:
    values: State = {}
    for name, value in vars(module).items():
        if name not in MODULE and (taken := _take(value)):
            values[name] = taken[0]
    return values


def _take(value: Any) -> tuple[Any] | None:
    """Return a value in the form in which it is kept; None if it is not kept."""
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
    """Put an `objective_state` back into an objective after its `setup`."""
    there = {**objective.state_dict(), **dict(objective.named_buffers())}
    for name, value in state["tensors"].items():
        if isinstance(value, Tensor) and (name not in there or there[name].shape != value.shape):
            owner, _, leaf = name.rpartition(".")  # a buffer made during training, as probes are
            objective.get_submodule(owner).register_buffer(leaf, value)
    # Not strict: `tensors` also has the buffers that are not persistent, which a state dict leaves out.
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
    """Return the state of the global generators of torch, Python and NumPy."""
    numpy: Any = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "python": random.getstate(),
        "numpy": (numpy[0], numpy[1].tolist(), *numpy[2:]),
    }


def load_random(state: State) -> None:
    """Put a `random_state` back; GPUs that it does not cover keep their own."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        for device, value in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(value, device)
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
