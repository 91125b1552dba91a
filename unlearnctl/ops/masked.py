"""Means over the tokens, predictions or sequences that count. Axes: B sequences, T positions."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def masked_sum(values: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, ""]:
    """Sum `values` where `mask` holds; padding, even NaN, never reaches the result."""
    return torch.where(mask, values, 0.0).sum()


def masked_mean(
    values: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], count: int | None = None
) -> Float[Tensor, ""]:
    """Divide the masked sum by `count` (default: the mask's own).

    Training passes the *global* batch's count, so that the partial means of micro-batches and processes
    add up to the mean over the global batch.
    """
    total = mask.sum() if count is None else count
    return masked_sum(values, mask) / total
