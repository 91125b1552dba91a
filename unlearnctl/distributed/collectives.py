"""Collective operations: sums, gathers and broadcasts that also work with a single process.

Every rank has to make each of these calls, in the same order: a rank that skips one leaves the others waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from unlearnctl.distributed.heartbeat import waiting

T = TypeVar("T")


def several() -> bool:
    """Return whether this process is one of several that compute together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank_and_size() -> tuple[int, int]:
    """Return this process's rank, and the number of ranks."""
    return (dist.get_rank(), dist.get_world_size()) if several() else (0, 1)


def gathered(value: T) -> list[T]:
    """Gather every rank's value on every rank, in the order of ranks."""
    if not several():
        return [value]
    parts: list[Any] = [None] * dist.get_world_size()
    with waiting():
        dist.all_gather_object(parts, value)
    return parts


def sum_over_processes(value: Tensor) -> Tensor:
    """Return the sum over all ranks, on every rank; the value itself if there is one process."""
    if several():
        value = value.clone()  # `all_reduce` writes into the tensor that it is given
        with waiting():
            dist.all_reduce(value)
    return value


def any_rank(flag: bool) -> bool:
    """Return whether the flag is set on any rank."""
    if not several():
        return flag
    # NCCL reduces tensors on GPUs alone; the name may be a list, as in cpu:gloo,cuda:nccl.
    device = "cuda" if "nccl" in dist.get_backend() else "cpu"
    return bool(sum_over_processes(torch.tensor(float(flag), device=device)).item())


def all_ranks(flag: bool) -> bool:
    """Return whether the flag is set on every rank."""
    return not any_rank(not flag)


def on_main(work: Callable[[], T]) -> T:
    """Do `work()` on rank 0 alone; every rank gets its result, or raises its error.

    The error is broadcast like a result, or the other ranks would wait for rank 0 until the time-out.
    """
    if not several():
        return work()
    box: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            box[0] = work()
        except Exception as error:
            box[1] = error
    with waiting():
        dist.broadcast_object_list(box)
    if box[1] is not None:
        raise box[1]
    return box[0]
