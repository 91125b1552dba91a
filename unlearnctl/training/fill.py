"""Compute once, before the first step, what the frozen part makes of each row of the run."""

from __future__ import annotations

import hashlib
import time
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from unlearnctl.data.batch import Batch
from unlearnctl.distributed.collectives import all_ranks, any_rank
from unlearnctl.models.partial.activation_cache import ActivationCache
from unlearnctl.models.partial.prefix_cache import DiskRows, digest, open_rows, write_rows
from unlearnctl.models.partial.tapped import can_remember
from unlearnctl.training.loop import Trainer
from unlearnctl.utils.atomic import why
from unlearnctl.utils.errors import UserError

_kept: dict[str, ActivationCache] = {}  # what this process made last: the next sweep member may want the same


def fill_caches(
    trainers: Sequence[Trainer], base: Mapping[str, Any], root: Path, trunk: bool, matrix: bool = True
) -> None:
    """Cache by row what stays frozen, as `trainer.prefix_cache` asks: the prefix and the reference's outputs.

    The reference's token log-probabilities are small, so they are kept whatever was asked, if they are all that
    is read of it. The first time that a row comes up it is computed in the very batch of that step, so the first
    epoch of a cached run repeats an uncached one bit for bit.

    Args:
        trainers: about to start; they share what they agree on.
        base: all that decides the frozen blocks' output, but for the rows: model, dtype, versions.
        root: folder of the caches on disk.
        trunk: the model holds nothing but what training needs, so cached blocks can be let go.
        matrix: cache up to the input of the first trained matrix, not just of its block; faster and larger.

    Raises:
        UserError: an objective reads padding, of which nothing is kept.
    """
    # Only what this call uses again is kept, so that memory never holds the rows of two groups of members.
    made = dict(_kept)
    _kept.clear()
    for trainer in trainers:
        tapped, kind = trainer.tapped, trainer.settings.prefix_cache
        prefix = kind != "none" and tapped.lowest > 0
        if prefix and any(need.padding for need in tapped.needs.values()):
            raise UserError(f"trainer.prefix_cache={kind}: this objective reads padding, which is not kept")
        reference = can_remember(tapped.needs, hidden=kind != "none")
        if not (prefix or reference):
            continue
        what = {"prefix": prefix, "matrix": matrix, "reference": reference}
        key = {**base, **_run_key(trainer), "what": what}
        cache = _cache(trainer, key, root if kind == "disk" else None, made)
        if prefix:
            tapped.cached = cache
        if reference:
            tapped.remember(cache)
        if prefix and trunk:
            tapped.release_prefix()


def batches(trainer: Trainer) -> Iterator[tuple[str, Batch]]:
    """Yield every side of every micro-batch of the run, in order."""
    for step in range(trainer.settings.steps):
        for micro in trainer.batches(step):
            yield from micro.items()


def _cache(
    trainer: Trainer, key: Mapping[str, Any], root: Path | None, made: Mapping[str, ActivationCache]
) -> ActivationCache:
    """Take the rows of a run from this process or from the disk, or compute them now."""
    started, name = time.perf_counter(), digest(key)
    found = made.get(name) or _kept.get(name) or (_from_disk(root, key) if root else None)
    if not all_ranks(found is not None):  # sliced blocks compute on all ranks or on none
        parts = _new_rows(trainer, **key["what"])
        found = ActivationCache(_on_disk(root, key, parts) if root else dict(ChainMap(*parts)))
        if key["what"]["prefix"]:
            print(f"prefix cache: filled in {time.perf_counter() - started:.1f} s")
    assert found is not None
    _kept[name] = found
    return found


def _from_disk(root: Path, key: Mapping[str, Any]) -> ActivationCache | None:
    rows = open_rows(root, key)
    return None if rows is None else ActivationCache(rows)


def _on_disk(root: Path, key: Mapping[str, Any], parts: Iterator[dict[str, Tensor]]) -> DiskRows:
    try:
        return write_rows(root, key, parts)
    except OSError as error:
        raise UserError(
            f"trainer.prefix_cache=disk: {why(error)}; set UNLEARNCTL_CACHE to another folder, or "
            "trainer.prefix_cache=memory or none"
        ) from error


def _run_key(trainer: Trainer) -> dict[str, Any]:
    tapped = trainer.tapped
    # The token ids themselves are hashed, because a path or a setting may stay the same while the rows change.
    seen = hashlib.sha256()
    for side, batch in batches(trainer):
        for part in (batch.input_ids, batch.attention_mask):
            seen.update(f"{side}{tuple(part.shape)}".encode() + part.cpu().numpy().tobytes())
        seen.update("/".join(batch.keys).encode())
    read = {side: [tapped.start(need), repr(need)] for side, need in tapped.needs.items()}
    return {"read": read, "mixed_precision": trainer.settings.mixed_precision, "rows": seen.hexdigest()}


def _new_rows(trainer: Trainer, prefix: bool, matrix: bool, reference: bool) -> Iterator[dict[str, Tensor]]:
    tapped = trainer.tapped
    seen: set[str] = set()
    for side, batch in batches(trainer):
        need = tapped.needs[side]
        # A row that comes up again keeps the values of its first batch: another width could round differently.
        fresh = set(batch.keys) - seen
        if not (prefix or need.reference) or not (any_rank(bool(fresh)) if trainer.sharded else fresh):
            continue
        with trainer.accelerator.autocast():
            rows = tapped.frozen_rows(batch, need, prefix, matrix, reference)
        yield {key: value for key, value in rows.items() if key.rpartition("@")[0] in fresh}
        seen |= fresh
