"""The prefix cache of a run: may it be used, how large will it be, and what decides its content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unlearnctl.data.streams import ForgetRetain
from unlearnctl.errors import UserError
from unlearnctl.evaluation.provenance import versions
from unlearnctl.models.prefix_cache import make_room
from unlearnctl.paths import cache_dir
from unlearnctl.stages.plan import BYTES, size
from unlearnctl.stages.run_dir import check_space

if TYPE_CHECKING:
    from unlearnctl.stages.prepare import Prepared
    from unlearnctl.stages.run import Run


def check_prefix_cache(ready: Prepared, data: ForgetRetain, rank: int, world: int) -> None:
    """Say how large the cache will be, and refuse one that does not fit or would change the numbers.

    Raises:
        UserError: the objective reads padding, positions are absolute and padding left, or the size passes
            `trainer.prefix_cache_gb` or the disk.
    """
    kind, bound = ready.settings.prefix_cache, ready.settings.prefix_cache_gb
    if kind == "none" or ready.lowest <= 0:
        return
    key = f"trainer.prefix_cache={kind}"
    if any(need.padding for need in ready.objective.needs().values()):
        raise UserError(
            f"{key}: objective.reduction=all reads padding, which is not kept; use reduction=masked"
        )
    if data.padding_side == "left" and _absolute_positions(ready):
        raise UserError(
            f"{key}: {ready.spec.name} counts positions from the batch's edge; use data.padding_side=right"
        )
    needed = prefix_bytes(ready, data, rank, world)
    print(f"prefix cache: {size(needed)} ({kind})")
    if needed > bound * 1e9:
        raise UserError(
            f"trainer.prefix_cache_gb={bound:g}: the cache needs {size(needed)}; raise it, lower trainer.steps or "
            "use trainer.prefix_cache=none"
        )
    if kind == "disk":
        make_room(cache_dir() / "prefix", needed, int(bound * 1e9))
        check_space(cache_dir(), needed, key, "the cache needs")


def prefix_bytes(ready: Prepared, data: ForgetRetain, rank: int, world: int) -> int:
    """Bytes of the rows that one process sees: each once, every real token a vector of the hidden size."""
    settings = ready.settings
    lengths: dict[str, int] = {}
    micro = settings.micro_batch or settings.global_batch // world
    needs = ready.objective.needs()
    for step in range(settings.steps):
        for batches in data.micro_batches(step, settings.global_batch, micro, rank, world):
            for side, need in needs.items():
                vectors = 1 + sum(layer < ready.lowest for layer in need.layers)
                counts = batches[side].attention_mask.sum(1).tolist()
                lengths.update(zip(batches[side].keys, (n * vectors for n in counts), strict=True))
    return sum(lengths.values()) * ready.skeleton.hidden_size * BYTES[ready.spec.dtype]


def prefix_base(run: Run) -> dict[str, Any]:
    """All that decides what the frozen blocks compute, but for the rows themselves."""
    spec = run.ready.spec
    known = versions()
    return {
        "model": run.base,
        "attention": spec.attn_implementation,
        "device": run.accelerator.device.type,
        "versions": {name: known[name] for name in ("torch", "transformers")},
    }


def _absolute_positions(ready: Prepared) -> bool:
    return any(
        part in name
        for name in ready.skeleton.shapes
        for part in ("wpe", "embed_positions", "position_embed")
    )
