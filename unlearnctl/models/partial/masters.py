"""Train in float32 what a model stores in half precision: float32 masters (Micikevicius et al., arXiv 1710.03740, 3.1).

A bfloat16 number has 8 significant bits, so adding 5e-5 to a weight of 0.1 gives 0.1 again: the step is below half a
unit in the last place, and is lost, however often it is taken. Summed in float32, such steps arrive.

Here the master *is* the parameter, and its module computes with the rounded value. So the optimiser, clipping, DDP,
FSDP, checkpoints and snapshots see float32 tensors and know nothing of masters. Each micro-batch's gradient is
computed in the model's dtype and summed in float32: a rounding is the identity to autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

HALF = (torch.bfloat16, torch.float16)
Slot = tuple[nn.Module, str, str]  # the module that reads a tensor, its attribute there, the tensor's name


def slots_of(model: nn.Module, wanted: Mapping[int, str]) -> list[Slot]:
    """Return every place that reads a wanted parameter (`id` → name): tied weights have several."""
    return [
        (module, leaf, wanted[id(parameter)])
        for module in model.modules()
        for leaf, parameter in module._parameters.items()
        if parameter is not None and id(parameter) in wanted
    ]


def hold_masters(slots: Iterable[Slot]) -> Callable[[], None]:
    """Turn half-precision parameters into float32 masters, in place; returns what rounds them back for good.

    The model's outputs are the same bits before and after, and parameters in float32 are left alone.
    """
    stored: dict[str, tuple[nn.Parameter, torch.dtype]] = {}
    leaves: dict[nn.Module, dict[str, torch.dtype]] = {}
    for module, leaf, name in slots:
        parameter = module._parameters[leaf]
        if parameter is not None and parameter.dtype in HALF:
            stored[name] = parameter, parameter.dtype
            leaves.setdefault(module, {})[leaf] = parameter.dtype
    kinds: dict[nn.Module, Any] = {module: type(module) for module in leaves}
    for parameter, _ in stored.values():
        parameter.data = parameter.data.float()
    for module, kind in kinds.items():
        module.__class__ = _rounding(kind, tuple(leaves[module].items()))

    def put_back() -> None:
        for module, kind in kinds.items():
            module.__class__ = kind
        for parameter, dtype in stored.values():
            parameter.data = parameter.data.to(dtype)

    return put_back


@cache  # one class for all modules of a kind: torch.compile compiles again for every type that it meets
def _rounding(kind: Any, stored: tuple[tuple[str, torch.dtype], ...]) -> type[nn.Module]:
    """Derive a module class whose attributes read as their parameters, rounded to the dtypes that `stored` names."""
    leaves = dict(stored)

    def rounded(module: Any, leaf: str) -> Tensor:
        value = module._parameters[leaf]
        # FSDP looks its slices up by attribute. A module computes only with what was gathered, a plain tensor.
        return value if hasattr(value, "placements") else value.to(leaves[leaf])

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        # Once per call: a module of experts reads its stack once for each of them.
        self.rounded = {leaf: rounded(self, leaf) for leaf in leaves}
        try:
            return kind.forward(self, *args, **kwargs)
        finally:
            self.rounded = {}

    def read(leaf: str) -> property:
        def get(self: Any) -> Tensor:
            now = self.rounded.get(leaf)
            return rounded(self, leaf) if now is None else now

        return property(get)

    members = {"forward": forward, "rounded": {}, **{leaf: read(leaf) for leaf in leaves}}
    return type(kind.__name__, (kind,), members)
