"""What the frozen model computes for a row, kept by row: it is the same in every epoch, batch and sweep member.

A store maps `CORPUS/INDEX@WHAT` to the values of that row's real tokens, [T, ...]; padding is never kept.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Shaped
from torch import Tensor

from unlearnctl.data.batch import Batch

Rows = Mapping[str, Tensor]
ENTERING = "in"  # the stream that enters the first block that trains
MATRIX = "matrix"  # the input of that block's one trained matrix ...
STREAM = "stream"  # ... and the stream that its output joins
REFERENCE = "reference"  # followed by a layer: the original model's stream after it
LOGPROBS = "logprobs"  # the original model's token log-probabilities


def split(values: Shaped[Tensor, "B T ..."], batch: Batch, what: object) -> dict[str, Tensor]:
    """The real tokens of each row, on the CPU."""
    real = batch.attention_mask.bool()
    return {f"{key}@{what}": values[b][real[b]].cpu() for b, key in enumerate(batch.keys)}


def join(rows: Rows, batch: Batch, what: object) -> Shaped[Tensor, "B T ..."]:
    """The batch's values from the store, zeros on padding.

    Raises:
        KeyError: a row that was never kept.
    """
    found = [rows[f"{key}@{what}"] for key in batch.keys]
    real = batch.attention_mask.bool().cpu()
    out = torch.zeros(*real.shape, *found[0].shape[1:], dtype=found[0].dtype)
    for b, values in enumerate(found):
        out[b, real[b]] = values
    return out.to(batch.input_ids.device)


def lacks(rows: Rows, batch: Batch, what: object) -> bool:
    """True if some row of the batch is not in the store."""
    return any(f"{key}@{what}" not in rows for key in batch.keys)
