"""Modules that take a block's place for one pass, so that the model's own forward does our work."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Recorder(nn.Module):
    """Stands in for a block: notes what the model's own forward hands it, and passes the stream on."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        if hasattr(block, "attention_type"):  # some forwards pick the mask by this attribute
            self.attention_type = block.attention_type
        self.args: tuple[Any, ...] = ()
        self.kwargs: dict[str, Any] = {}
        self.entering: Tensor = torch.empty(0)

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Record and pass through."""
        self.entering, self.args, self.kwargs = hidden, args, kwargs
        return hidden


class Released(nn.Module):
    """Stands in for a block whose weights were let go."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        if hasattr(block, "attention_type"):
            self.attention_type = block.attention_type

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Never called while every row is cached."""
        raise RuntimeError("a block of the frozen prefix was released, but a row is not in the cache")


class Inject(nn.Module):
    """Stands in for all blocks: whatever comes in, the given stream goes on (to the norm and the head)."""

    attention_type = "full_attention"

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Discard the input."""
        return self.hidden
