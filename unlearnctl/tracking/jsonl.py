"""metrics.jsonl: one JSON object a line, readable during the run and after it was killed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from unlearnctl.utils.atomic import open_ours, replacing
from unlearnctl.utils.safe_json import loads


class JsonlTracker:
    """Appends each row as strict JSON; a number that is not finite becomes null.

    Rows that the disk refuses wait in memory, and are written in their order as soon as it takes them.
    """

    required = True  # what goes wrong here is no matter of a server

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting: list[str] = []
        self._said = False

    def log(self, row: Mapping[str, Any], step: int) -> None:
        """Write one line at once, so that a killed run has lost nothing."""
        clean = _finite({**row, "step": step})
        self._waiting.append(json.dumps(clean, allow_nan=False, ensure_ascii=False) + "\n")
        self._write()

    def finish(self, status: str) -> None:
        """Write pending lines; the status is in results.json."""
        self._write()
        if self._waiting:
            print(f"metrics: {len(self._waiting)} rows are lost; {self.path} takes no more")

    def _write(self) -> None:
        if not self._waiting:
            return
        try:
            _append(self.path, "".join(self._waiting).encode())
        except OSError as error:
            if not self._said:
                print(
                    f"metrics: not written ({error.strerror or error}: {self.path}); the rows wait in memory"
                )
            self._said = True
        else:
            self._waiting.clear()


def cut_history(path: Path, last: int, actions: int) -> None:
    """Keep the rows up to step `last` and the learner's first `actions` rows; drop a half-written row.

    Raises:
        OSError: it cannot be written; it is then as it was.
    """
    if not path.is_file():
        return
    with replacing(path) as temporary, path.open("rb") as old, temporary.open("wb") as new:
        for line in old:
            row = _row(line)
            if row is None:
                continue
            if row.get("kind") in ("meta", "episode"):
                actions -= 1
                keep = actions >= 0
            else:
                keep = row["step"] <= last
            if keep:
                new.write(line)


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = loads(line.decode())
    except ValueError:
        return None
    return (
        row if line.endswith(b"\n") and isinstance(row, dict) and isinstance(row.get("step"), int) else None
    )


def _append(path: Path, lines: bytes) -> None:
    """Append all of the lines or, as far as the disk allows, none; start on a new line even after half a line."""
    with open_ours(path, "a+b", buffering=0) as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 1))
        if file.read(1) not in (b"", b"\n"):  # after a kill in the middle of a row
            lines = b"\n" + lines
        try:
            while lines:
                lines = lines[file.write(lines) :]
        except OSError:
            with suppress(OSError):
                file.truncate(size)
            raise


def _finite(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {str(key): _finite(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_finite(value) for value in node]
    if hasattr(node, "item"):  # a NumPy or torch scalar
        return _finite(node.item())
    return None if isinstance(node, float) and not math.isfinite(node) else node
