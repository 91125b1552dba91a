"""Decide whether a run may use the prefix cache, how large it will be, and what its content depends on."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from unlearnctl.data.streams import ForgetRetain
from unlearnctl.models.partial.prefix_cache import make_room
from unlearnctl.results.provenance import versions
from unlearnctl.runs.directory import check_space
from unlearnctl.unlearning.plan import BYTES, size
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.paths import cache_dir

if TYPE_CHECKING:
    from unlearnctl.models.spec import ModelSpec
    from unlearnctl.unlearning.prepare import Prepared


def check_prefix_cache(ready: Prepared, data: ForgetRetain, rank: int, world: int) -> bool:
    """Say how large the cache will be, and refuse one that does not fit or would change the numbers.

    Returns whether it goes up to the input of the first trained matrix, which is faster, or, if that would pass
    the bound, only to the input of its block.

    Raises:
        UserError: the objective reads padding, positions are absolute and padding left, or the size passes
            `trainer.prefix_cache_gb` or the disk.
    """
    kind, bound = ready.settings.prefix_cache, ready.settings.prefix_cache_gb * 1e9
    if kind == "none" or ready.lowest <= 0:
        return False
    key = f"trainer.prefix_cache={kind}"
    if any(need.padding for need in ready.objective.needs().values()):
        raise UserError(
            f"{key}: objective.reduction=all reads padding, which is not kept; use reduction=masked"
        )
    if data.padding_side == "left" and _absolute_positions(ready):
        raise UserError(
            f"{key}: {ready.spec.name} counts positions from the batch's edge; use data.padding_side=right"
        )
    lengths = _row_lengths(ready, data, rank, world)
    # The size with the matrix's inputs, which in an MLP are several times as wide as the stream, and without them.
    wide, needed = (_bytes(ready, lengths, width) for width in (_matrix_width(ready), 0))
    matrix = wide != needed and wide <= bound
    needed = wide if matrix else needed
    where = "inputs of the first trained matrix" if matrix else f"inputs of block {ready.lowest}"
    print(f"prefix cache: at most {size(needed)} ({kind}; {where})")
    if needed > bound:
        raise UserError(
            f"trainer.prefix_cache_gb={bound / 1e9:g}: the cache needs {size(needed)}; raise it, lower "
            "trainer.steps or use trainer.prefix_cache=none"
        )
    if kind == "disk":
        if rank == 0:  # ranks that share a disk would delete the same folders at once
            make_room(cache_dir() / "prefix", needed, int(bound))
        check_space(cache_dir(), needed, key, "the cache needs")
    return matrix


def _row_lengths(ready: Prepared, data: ForgetRetain, rank: int, world: int) -> dict[str, dict[str, int]]:
    """Return the number of tokens of each row that one process sees, by side."""
    settings, needs = ready.settings, ready.objective.needs()
    micro = settings.micro_batch or settings.global_batch // world
    lengths: dict[str, dict[str, int]] = {side: {} for side in needs}
    for step in range(settings.steps):
        for batches in data.micro_batches(step, settings.global_batch, micro, rank, world):
            for side in needs:
                counts = batches[side].attention_mask.sum(1).tolist()
                lengths[side].update(zip(batches[side].keys, counts, strict=True))
    return lengths


def _bytes(ready: Prepared, lengths: Mapping[str, Mapping[str, int]], matrix: int) -> int:
    """Count each row once: a vector per token for the prefix, each layer read in it and each layer of the reference."""
    total = 0
    for side, need in ready.objective.needs().items():
        below = sum(layer < ready.lowest for layer in need.layers)
        vectors = 1 + below + len(need.layers) * need.reference
        total += sum(lengths[side].values()) * (vectors * ready.skeleton.hidden_size + matrix)
    return total * BYTES[ready.spec.dtype]


def _matrix_width(ready: Prepared) -> int:
    """Return the inputs of the one matrix that trains in the lowest block; 0 if several do."""
    first = [name for name in ready.trainable if ready.skeleton.block_of(name) == ready.lowest]
    shape = ready.skeleton.shapes[first[0]]
    one = len(first) == 1 and len(shape) == 2 and ready.skeleton.hidden_size in shape
    return prod(shape) // ready.skeleton.hidden_size if one else 0


def prefix_base(spec: ModelSpec, base: str, device: str) -> dict[str, Any]:
    """Name everything that decides what the frozen blocks compute, except the rows themselves."""
    known = versions()
    # Attention, device and library versions choose the kernels, and with them how the cached values are rounded.
    return {
        "model": base,
        "attention": spec.attn_implementation,
        "device": device,
        "versions": {name: known[name] for name in ("torch", "transformers")},
    }


def _absolute_positions(ready: Prepared) -> bool:
    return any(
        part in name
        for name in ready.skeleton.shapes
        for part in ("wpe", "embed_positions", "position_embed")
    )
