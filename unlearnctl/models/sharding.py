"""FSDP2: every rank holds a slice of each block, and gathers one block at a time.

Frozen parameters are sliced like the others; gradients and optimiser state exist only for what trains. Functions that
gather must be called on every rank, even if only rank 0 uses the result.
"""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor

from unlearnctl.models.partial.tapped import TappedModel


def shard(tapped: TappedModel, device: str) -> None:
    """Slice a tapped model over all ranks, in place. To be called before the optimiser is created.

    From then on the first trained block runs whole, because its modules cannot be called one by one.
    """
    from torch.distributed import get_world_size
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(device, (get_world_size(),))
    for block in tapped.decoder.blocks:
        # Gathered again for the backward pass: keeping the gathered block would give the policy's backward pass the
        # reference's values, which pass through the same storage.
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
    fully_shard(tapped, mesh=mesh, reshard_after_forward=True)
    for method in ("frozen_rows", "read"):  # entry points besides `forward`
        register_fsdp_forward_method(tapped, method)
    tapped.take_shards()


def whole(parameter: Tensor) -> Tensor:
    """Gather a parameter into one plain tensor."""
    from torch.distributed.tensor import DTensor

    return parameter.full_tensor() if isinstance(parameter, DTensor) else parameter


def for_writing(tensor: Tensor) -> Tensor:
    """Gather a tensor for rank 0 to write: whole and in CPU memory there, empty elsewhere."""
    from torch.distributed.tensor import DTensor

    if not isinstance(tensor, DTensor):
        return tensor
    full = tensor.full_tensor()
    # Empty elsewhere, or every rank would hold the whole model in the end.
    return full.cpu() if dist.get_rank() == 0 else full.new_empty(0)


def sliced_like(parameter: Tensor, value: Tensor) -> Tensor:
    """Slice a whole tensor as a parameter is sliced; return the tensor itself if nothing is sliced."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    value = value.to(parameter.device)
    # `src_data_rank=None`: every rank has the whole value, so each cuts its slice and nothing is sent.
    return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)


def held(tensor: Tensor) -> Tensor:
    """Return the part of a tensor that this rank holds."""
    from torch.distributed.tensor import DTensor

    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
