"""FSDP2: every rank holds a slice of each block, and gathers one block at a time.

Frozen parameters are sliced like the others; gradients and optimiser state exist for what trains alone.
"""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor

from unlearnctl.models.partial.tapped import TappedModel


def shard(tapped: TappedModel, device: str) -> None:
    """Slice a tapped model over all ranks, in place; to be called before the optimiser is made.

    The first trained block is then run whole: its parts cannot be called one by one.
    """
    from torch.distributed import get_world_size
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(device, (get_world_size(),))
    for block in tapped.decoder.blocks:
        # gathered anew for the backward pass: the reference's values pass through the same storage
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
    fully_shard(tapped, mesh=mesh, reshard_after_forward=True)
    for way_in in ("frozen_rows", "read"):
        register_fsdp_forward_method(tapped, way_in)
    tapped.take_shards()


def whole(parameter: Tensor) -> Tensor:
    """A parameter as one plain tensor; every rank has to ask."""
    from torch.distributed.tensor import DTensor

    return parameter.full_tensor() if isinstance(parameter, DTensor) else parameter


def for_writing(tensor: Tensor) -> Tensor:
    """A tensor to be written by rank 0: whole there and in CPU memory, empty elsewhere; every rank has to ask."""
    from torch.distributed.tensor import DTensor

    if not isinstance(tensor, DTensor):
        return tensor
    full = tensor.full_tensor()
    return full.cpu() if dist.get_rank() == 0 else full.new_empty(0)


def sliced_like(parameter: Tensor, value: Tensor) -> Tensor:
    """This rank's slice of a whole tensor, as that of a parameter is; the tensor itself if nothing is sliced."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    value = value.to(parameter.device)
    return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)


def held(tensor: Tensor) -> Tensor:
    """What this rank holds of it."""
    from torch.distributed.tensor import DTensor

    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
