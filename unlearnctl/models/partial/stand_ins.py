"""Modules that take the blocks' place for one pass, so that the model's own forward does our work."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class StandIn(nn.Module):
    """A block's stand-in, with its plain attributes: some models' forwards read them to choose masks or branches."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        for name, value in vars(block).items():
            if name not in vars(self) and isinstance(value, bool | int | float | str):
                setattr(self, name, value)


class Peek(StandIn):
    """A stand-in for all blocks: runs one of them, and keeps what it returns."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__(block)
        self._block = (block,)  # in a tuple, so that it is not registered as a child
        self.out: Any = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the block; return its own output."""
        self.out = self._block[0](*args, **kwargs)
        return self.out


class Recorder(StandIn):
    """A stand-in for a block: keeps the arguments that the model's own forward gives it, and passes the stream on.

    Args:
        block: the block whose place it takes.
        others: number of outputs that such a block returns after the stream; None: the stream alone, not in a tuple.
    """

    def __init__(self, block: nn.Module, others: int | None) -> None:
        super().__init__(block)
        self.others = others
        self.args: tuple[Any, ...] = ()
        self.kwargs: dict[str, Any] = {}
        self.entering: Tensor = torch.empty(0)

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor | tuple:
        """Keep the arguments; return the stream as it came."""
        self.entering, self.args, self.kwargs = hidden_states, args, kwargs
        return _as_block(hidden_states, self.others)


class Released(StandIn):
    """A stand-in for a block whose weights were freed."""

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Fail: it is never called while every row is cached."""
        raise RuntimeError("a block of the frozen prefix was released, but a row is not in the cache")


class Inject(StandIn):
    """A stand-in for all blocks: ignores its input, and passes a given stream on to the norm and the head."""

    def __init__(self, block: nn.Module, hidden: Tensor, others: int | None) -> None:
        super().__init__(block)
        self.hidden, self.others = hidden, others

    def forward(self, *args: Any, **kwargs: Any) -> Tensor | tuple:
        """Return the given stream."""
        return _as_block(self.hidden, self.others)


def _as_block(hidden: Tensor, others: int | None) -> Tensor | tuple:
    # The other outputs (attention weights, a cache) are unpacked by the model but not used: we ask for neither.
    return hidden if others is None else (hidden, *(None,) * others)
