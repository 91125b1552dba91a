"""What the frozen model computes for a row, kept by row.

The frozen part gives the same values for a row in every epoch, batch and sweep member, so they are computed once.
Rows are the unit, not batches, because batches are drawn differently in each epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Shaped
from torch import Tensor

from unlearnctl.data.batch import Batch

ENTERING = "in"  # the stream that enters the first block that trains
MATRIX = "matrix"  # the input of that block's one trained matrix ...
STREAM = "stream"  # ... and the stream that its output joins
REFERENCE = "reference"  # followed by a layer: the original model's stream after it
LOGPROBS = "logprobs"  # the original model's token log-probabilities


@dataclass(frozen=True)
class ActivationCache:
    """Values by row, in memory or on disk.

    Args:
        rows: `CORPUS/INDEX@WHAT` → the values of that row's real tokens, [T, ...]; see `split_rows`.
    """

    # Flat, because a safetensors file is a flat mapping too, so a folder on disk can serve as it is.
    rows: Mapping[str, Tensor] = field(default_factory=dict)

    def has(self, batch: Batch, what: object) -> bool:
        """Return whether every row of the batch is in the cache."""
        return all(_name(key, what) in self.rows for key in batch.keys)

    def get(self, batch: Batch, what: object) -> Shaped[Tensor, "B T ..."]:
        """Put the batch's values back together, with zeros on padding.

        Raises:
            KeyError: a row was never cached.
        """
        found = [self.rows[_name(key, what)] for key in batch.keys]
        real = batch.attention_mask.bool().cpu()
        # Zeros, not whatever memory holds: a NaN on padding would spread through attention's weighted sums.
        out = torch.zeros(*real.shape, *found[0].shape[1:], dtype=found[0].dtype)
        for b, values in enumerate(found):
            out[b, real[b]] = values
        return out.to(batch.input_ids.device)


def split_rows(values: Shaped[Tensor, "B T ..."], batch: Batch, what: object) -> dict[str, Tensor]:
    """Split a batch's values into rows to cache: real tokens only, on the CPU.

    Padding is dropped because another batch pads the same row to another length, or on the other side.
    """
    real = batch.attention_mask.bool()
    # On the CPU: a GPU has no room for a whole corpus, and a step copies back only its own rows.
    return {_name(key, what): values[b][real[b]].cpu() for b, key in enumerate(batch.keys)}


def _name(key: str, what: object) -> str:
    return f"{key}@{what}"
