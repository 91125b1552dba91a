"""Read metrics.jsonl; of a long file, evenly spaced rows of each kind."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from unlearnctl.utils import numbers
from unlearnctl.utils.safe_json import loads

ROWS = 20_000  # of each kind that the page of one run reads
LONGEST = 1_000_000  # bytes of a row, a thousand times what a run writes
BRIEF = 100  # bytes, less than any row has: a file below `most` times that cannot hold too many rows
KIND = 16  # bytes at the start of a row that tell its kind, since `tracking/jsonl.py` writes that first
KINDS = 100  # a damaged file may hold any number


@dataclass(frozen=True)
class History:
    """Rows with a step, and the number of lines that were something else: a killed run may end in half a line."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    unreadable: int = 0
    every: int = 1  # only every n-th training row was read


def read_history(path: Path, most: int | None = None) -> History:
    """Read all rows or, of a kind with more than `most`, every n-th; the last line is always read."""
    if not path.is_file():
        return History()
    with path.open("rb") as file:
        steps = _strides(file, most)
        rows, bad = [], 0
        seen: Counter[bytes] = Counter()
        for line, last in _lines(file):
            kind = line[:KIND]
            seen[kind] += kind in steps
            if not last and kind in steps and seen[kind] % steps[kind] != 1:
                continue
            row = _row(line)
            if row is None:
                bad += bool(line.strip())
            else:
                rows.append(row)
    return History(rows, bad, steps.get(b'{"kind": "train"', 1))


def _strides(file: BinaryIO, most: int | None) -> dict[bytes, int]:
    """Decide, for each kind with too many rows, that only every n-th of them is read."""
    if most is None or os.fstat(file.fileno()).st_size <= BRIEF * most:
        return {}
    counts: Counter[bytes] = Counter()
    for line, _ in _lines(file):
        kind = line[:KIND]
        if kind in counts or len(counts) < KINDS:
            counts[kind] += 1
    file.seek(0)
    return {kind: -(-count // most) for kind, count in counts.items() if count > most}


def _lines(file: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Yield each line and whether it is the last; a line longer than any row comes in pieces."""
    line = file.readline(LONGEST)
    while line:
        following = file.readline(LONGEST)
        yield line, not following
        line = following


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = loads(line.decode("utf-8", "replace"))
    except ValueError:
        return None
    return row if isinstance(row, dict) and numbers.finite(row.get("step")) is not None else None
