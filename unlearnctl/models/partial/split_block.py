"""Splits the first block that trains at its one trained module: everything before that is frozen too.

In a Llama block whose MLP output matrix trains, attention and the MLP's first half are the same in every step and in
the reference: `out = stream + after(matrix(x))`, with `stream` and `x` frozen. Nothing here knows an architecture, so
a cut is tried out first, and used only if it gives the block's own output to the last bit; otherwise the block runs
whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Call = tuple[tuple[Any, ...], Mapping[str, Any]]


class Catch(nn.Module):
    """A stand-in for the trained module: keeps its input, and adds nothing to the stream."""

    def __init__(self) -> None:
        super().__init__()
        self.caught: Tensor = torch.empty(0)
        self.width = 0

    def forward(self, x: Tensor) -> Tensor:
        """Keep the input; return zeros of the stream's width."""
        self.caught = x
        return x.new_zeros(*x.shape[:-1], self.width)


@dataclass(frozen=True)
class Cut:
    """Where a block stops being frozen: the input of `path`, whose output goes through `after` and joins the stream."""

    block: nn.Module
    path: str
    after: tuple[str, ...]

    def frozen(self, hidden: Tensor, call: Call) -> tuple[Tensor, Tensor]:
        """Run the frozen part; return the stream without the module's output [B, T, D], and its input [B, T, M]."""
        catch = Catch()
        catch.width = hidden.shape[-1]
        # What follows the module in the block (a second norm, dropout) turns its zeros into zeros again. A norm with a
        # bias does not: the bias would come in here and again in `resume`, and `find_cut` rejects such a block.
        with _replaced(self.block, self.path, catch):
            return stream_of(self.block(hidden, *call[0], **call[1])), catch.caught

    def resume(self, stream: Tensor, x: Tensor) -> Tensor:
        """Run the rest of the block; return its output."""
        y = self.block.get_submodule(self.path)(x)
        for name in self.after:
            y = self.block.get_submodule(name)(y)
        return stream + y


@torch.no_grad()
def find_cut(block: nn.Module, trained: Collection[int], hidden: Tensor, call: Call) -> Cut | None:
    """Find where a block can be cut; return None if a cut would change a single bit of its output.

    Args:
        block: the first block that trains.
        trained: `id` of each parameter that trains.
        hidden: a stream that enters it, [B, T, D], to try the cut on.
        call: the other arguments of its forward.
    """
    owners = []
    for name, module in block.named_modules():
        if any(id(parameter) in trained for parameter in module.parameters(recurse=False)):
            owners.append(name)
    if len(owners) != 1:  # two trained modules: what lies between them is not frozen
        return None
    order, out = _leaf_calls(block, hidden, call)
    names = [name for name, _ in order]
    # A module that is called twice, or is not as wide as the stream, is not the one whose output the block adds.
    if names.count(owners[0]) != 1 or dict(order)[owners[0]] != hidden.shape:
        return None
    after = names[names.index(owners[0]) + 1 :]
    if any(shape != hidden.shape for name, shape in order if name in after):
        return None
    # Parallel attention, residual scaling and the like pass every check above; only the output can tell. Equal to the
    # last bit, because a run must give the same weights with the cache as without.
    cut = Cut(block, owners[0], tuple(after))
    return cut if torch.equal(cut.resume(*cut.frozen(hidden, call)), out) else None


def _leaf_calls(block: nn.Module, hidden: Tensor, call: Call) -> tuple[list[tuple[str, torch.Size]], Tensor]:
    """Run a block; return its leaf modules in the order of their calls, with their output shapes, and its output."""
    order: list[tuple[str, torch.Size]] = []

    def note(name: str) -> Any:
        return lambda module, args, out: order.append((name, getattr(out, "shape", torch.Size())))

    # Hooks give the order of the calls. The order of registration differs: Llama registers its norms after its MLP.
    leaves = [(name, module) for name, module in block.named_modules() if not list(module.children())]
    handles = [module.register_forward_hook(note(name)) for name, module in leaves]
    try:
        return order, stream_of(block(hidden, *call[0], **call[1]))
    finally:
        for handle in handles:
            handle.remove()


def stream_of(out: Tensor | tuple | list) -> Tensor:
    """Return the residual stream among a block's outputs: the only one, or the first of several."""
    return out[0] if isinstance(out, tuple | list) else out


@contextmanager
def _replaced(block: nn.Module, path: str, stand_in: nn.Module) -> Iterator[None]:
    parent, _, name = path.rpartition(".")
    holder = block.get_submodule(parent)
    own = holder._modules[name]
    holder._modules[name] = stand_in
    try:
        yield
    finally:
        holder._modules[name] = own
