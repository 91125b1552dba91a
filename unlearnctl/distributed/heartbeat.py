"""The heartbeat of a worker: a small file that says what it is doing, for the process that started it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

FOLDER = "UNLEARNCTL_SIGNS"  # environment variable of workers: the folder for RANK.sign
_last: dict[str, Any] = {"count": 0, "at": "the start", "waits": False}


def beat(at: str | None = None, waits: bool = False) -> None:
    """Write that this process is alive; does nothing where no watchdog reads it.

    Args:
        at: what it is doing; None: still the same.
        waits: it waits for the other ranks.
    """
    folder = os.environ.get(FOLDER)
    if folder is None:
        return
    # The count makes two beats differ: the watchdog compares contents, since the times of files depend on clocks.
    _last.update(count=_last["count"] + 1, at=at or _last["at"], waits=waits)
    with suppress(OSError):  # a full disk must not end the run
        (Path(folder) / f"{os.environ['RANK']}.sign").write_text(json.dumps(_last), encoding="utf-8")


@contextmanager
def waiting() -> Iterator[None]:
    """Mark a block in which all ranks have to meet, so that a rank that waits here is not blamed for hanging."""
    beat(waits=True)
    try:
        yield
    finally:
        beat()
