"""Before the first step: what the frozen part computes for each row of the run, once."""

from __future__ import annotations

import hashlib
import time
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from unlearnctl.data.batch import Batch
from unlearnctl.models.prefix_cache import digest, open_rows, write_rows
from unlearnctl.models.rows import Rows
from unlearnctl.training.loop import Trainer

_kept: dict[str, Rows] = {}  # what this process made last: the next member of a sweep may want the same


def fill_caches(trainers: Sequence[Trainer], base: Mapping[str, Any], root: Path, trunk: bool) -> None:
    """Cache the prefix as `trainer.prefix_cache` asks, and the reference's log-probabilities where they suffice.

    The first time that a row comes up it is computed in the very batch of that step, so the first epoch of a
    cached run repeats an uncached one bit for bit.

    Args:
        trainers: about to start; they share what they agree on.
        base: all that decides the frozen blocks' output, but for the rows: model, dtype, versions.
        root: folder of the caches on disk.
        trunk: the model holds nothing but what training needs, so cached blocks can be let go.
    """
    made = dict(_kept)
    _kept.clear()
    for trainer in trainers:
        tapped, kind = trainer.tapped, trainer.settings.prefix_cache
        if kind != "none" and tapped.lowest > 0:
            tapped.cached = _rows(trainer, {**base, "kind": kind}, root if kind == "disk" else None, made)
            if trunk:
                tapped.release_prefix()
        if tapped.remembers():
            tapped.remember(_rows(trainer, {**base, "kind": "reference"}, None, made))


def batches(trainer: Trainer) -> Iterator[tuple[str, Batch]]:
    """Every side of every micro-batch of the run, in order."""
    for step in range(trainer.settings.steps):
        for micro in trainer.batches(step):
            yield from micro.items()


def _rows(trainer: Trainer, base: Mapping[str, Any], root: Path | None, made: Mapping[str, Rows]) -> Rows:
    """The rows of a run from this process, from the disk, or computed now."""
    started = time.perf_counter()
    key = {**base, **_run_key(trainer)}
    name = digest(key)
    found = made.get(name) or _kept.get(name) or (open_rows(root, key) if root else None)
    if found is None:
        parts = _new_rows(trainer, reference=base["kind"] == "reference")
        found = write_rows(root, key, parts) if root else dict(ChainMap(*parts))
        print(f"{base['kind']} cache: {len(found)} rows in {time.perf_counter() - started:.1f} s")
    _kept[name] = found
    return found


def _run_key(trainer: Trainer) -> dict[str, Any]:
    tapped = trainer.tapped
    seen = hashlib.sha256()
    for side, batch in batches(trainer):
        for part in (batch.input_ids, batch.attention_mask):
            seen.update(f"{side}{tuple(part.shape)}".encode() + part.cpu().numpy().tobytes())
        seen.update("/".join(batch.keys).encode())
    frozen = {s: [tapped.start(need), *tapped.frozen_layers(need)] for s, need in tapped.needs.items()}
    mixed = trainer.settings.mixed_precision
    return {"frozen": frozen, "mixed_precision": mixed, "rows": seen.hexdigest()}


def _new_rows(trainer: Trainer, reference: bool) -> Iterator[dict[str, Tensor]]:
    tapped = trainer.tapped
    compute = tapped.reference_rows if reference else tapped.prefix_rows
    seen: set[str] = set()
    for side, batch in batches(trainer):
        need = tapped.needs[side]
        fresh = set(batch.keys) - seen
        if not fresh or (reference and not need.reference):
            continue
        with trainer.accelerator.autocast():
            rows = compute(batch, need)
        yield {key: value for key, value in rows.items() if key.rpartition("@")[0] in fresh}
        seen |= fresh
