"""What depends on how many processes there are."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def sum_over_processes(value: Tensor) -> Tensor:
    """The sum over all ranks, on each; the value itself if there is one process."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        value = value.clone()
        dist.all_reduce(value)
    return value
