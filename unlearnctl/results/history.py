"""metrics.jsonl as its readers need it: of a long one, evenly spread rows of each kind."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from unlearnctl.utils import numbers
from unlearnctl.utils.safe_json import loads

ROWS = 20_000  # of a kind, for the page of one run
LONGEST = 1_000_000  # bytes of a row; a run writes a thousandth of it
BRIEF = 100  # bytes, shorter than any row: a file with fewer than `most` of them need not be counted
KIND = 16  # bytes in which a row says its kind, as `tracking/jsonl.py` writes it
KINDS = 100


@dataclass(frozen=True)
class History:
    """Rows with a step, and how many lines were not that: a killed run may end in half a line."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    unreadable: int = 0
    every: int = 1  # of the training rows, the first of so many was read


def read_history(path: Path, most: int | None = None) -> History:
    """All rows or, of a kind with more than `most`, the first of every so many; its last line is always read."""
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
    """For each kind of which there are too many, the first of how many is read."""
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
    """Each line and whether it is the last one; in pieces where it is longer than any row."""
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
