"""A batch: the unit of data that training sees."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Int
from torch import Tensor

IGNORE = -100  # label of a position that no loss counts, by Hugging Face's convention


@dataclass(frozen=True)
class Batch:
    """The token ids of one micro-batch, with the counts of the global batch that it is part of.

    `tokens`, `predictions` and `sequences` count the whole *global* batch (all micro-batches of all processes), so
    that a loss which divides its local sum by them is the same however the batch is split.

    Axes: B sequences, T positions. Padding may be on either side.
    """

    input_ids: Int[Tensor, "B T"]
    attention_mask: Int[Tensor, "B T"]
    labels: Int[Tensor, "B T"]  # input_ids where the token is to be predicted, IGNORE on padding and prompt
    mask: Bool[Tensor, "B T"]  # positions whose representation counts: not padding, not prompt
    index: Int[Tensor, " B"]  # row in the corpus; stays on the CPU, since it only names rows
    tokens: int  # sum of mask over the global batch
    predictions: int  # number of labels that have a predecessor to predict them, over the global batch
    sequences: int
    topic: int = 0
    corpus: str = ""  # "side/topic"; together with `index` it identifies a row

    @property
    def keys(self) -> list[str]:
        """Return a name for each row, the same in every epoch, micro-batch and process."""
        return [f"{self.corpus}/{row}" for row in self.index.tolist()]

    def to(self, device: torch.device | str) -> Batch:
        """Copy the batch, with the tensors that the model reads moved to `device`."""
        names = ("input_ids", "attention_mask", "labels", "mask")
        moved: dict[str, Any] = {name: getattr(self, name).to(device) for name in names}
        return replace(self, **moved)


class Batches(Protocol):
    """The batches that the training loop draws; `data.streams.ForgetRetain` provides them."""

    @property
    def pack(self) -> bool:
        """Tell whether a micro-batch holds sequences of similar length, so that little of it is padding."""
        ...

    @property
    def topics(self) -> list[str]:
        """Return the topics in the order in which they take turns."""
        ...

    def micro_batches(
        self, step: int, global_batch: int, micro_batch: int, rank: int = 0, world: int = 1
    ) -> list[dict[str, Batch]]:
        """Return this process's share of a global batch, cut into micro-batches."""
        ...
