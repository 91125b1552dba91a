"""Losses are computed in float32 whatever the model's dtype, and in float64 where that is given (gradient checks)."""

from __future__ import annotations

import torch
from torch import Tensor


def full(x: Tensor) -> Tensor:
    """Return `x` in float32 or wider."""
    return x if x.dtype == torch.float64 else x.float()
