"""What losses on hidden states have to know of a model's scale: typical token norms, and which tokens are sinks (ours).

In many models a token or two, mostly the first, have a hundred times the norm of all others from some block on: they
hold what attention has no use for ("attention sinks"), not text. A mean square over tokens is then theirs alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Gt
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unlearnctl.objectives.base import View
from unlearnctl.ops.precision import full

SinkFactor = Annotated[float, Gt(1)] | None


@dataclass(frozen=True)
class Norms:
    """Norms of the original model's residual stream over forget and retain texts. L layers, P positions."""

    layers: tuple[int, ...]
    median: Float[Tensor, " L"]  # over tokens
    by_position: Float[
        Tensor, "L P"
    ]  # the same over the first tokens of the texts, the second ones, …; 0 if none counts


class TokenNorms(nn.Module):
    """Holds the median token norm of some layers, and leaves sinks out of losses.

    A sink's loss is 0, and a mean still divides by all tokens: their number is known for the whole global batch, the
    number of sinks is not. So micro-batches and processes add up, and a model without sinks gets the same numbers.

    Args:
        layers: blocks whose output is read.
        sink_factor: a token is a sink if its norm in the original model is more than so many medians; where only the
            trained model is read, if the norms at its position are. None: there are no sinks.
        scaled: the objective uses the median itself.
    """

    median: Float[Tensor, " L"]
    sink_positions: Bool[Tensor, "L P"]

    def __init__(self, layers: Sequence[int], sink_factor: SinkFactor, scaled: bool = False) -> None:
        super().__init__()
        self.layers, self.sink_factor, self.scaled = tuple(layers), sink_factor, scaled

    def norm_layers(self) -> tuple[int, ...]:
        """Return the layers whose norms are needed before the first step."""
        return self.layers if self.scaled or self.sink_factor else ()

    def take_norms(self, norms: Norms) -> None:
        """Keep what was measured as buffers."""
        where = [norms.layers.index(layer) for layer in self.layers]
        median, by_position = norms.median[where], norms.by_position[where]
        limit = (self.sink_factor or torch.inf) * median[:, None]
        self.register_buffer("median", median)
        self.register_buffer("sink_positions", by_position > limit)

    def typical(self, layer: int) -> Float[Tensor, ""]:
        """Return the layer's median token norm."""
        return self.median[self.layers.index(layer)]

    def without_sinks(self, values: Float[Tensor, "B T"], view: View, layer: int) -> Float[Tensor, "B T"]:
        """Return the values of one layer's tokens, with 0 for sinks; without norms, all as they are."""
        if not self.sink_factor or "median" not in self._buffers:
            return values
        return torch.where(self._sinks(view, layer), 0.0, values)

    def _sinks(self, view: View, layer: int) -> Bool[Tensor, "B T"]:
        assert self.sink_factor
        # A fixed limit for each layer, and norms of the original model: both are the same in every step and batch.
        if view.frozen is not None:
            norms = full(view.frozen.hidden[layer]).norm(dim=-1)
            return norms > self.sink_factor * self.typical(layer)
        positions = self.sink_positions[self.layers.index(layer)]
        place = (
            view.batch.attention_mask.cumsum(-1) - 1
        )  # from the row's first token, whatever side is padded
        known = (place >= 0) & (place < len(positions))
        return known & positions[place.clamp(0, len(positions) - 1)]
