"""Find out from its locks and files whether a process is at work in a run directory, without locking anything."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from unlearnctl.runs.layout import LOCK, LOG, RUN_LOCK
from unlearnctl.utils.lock import is_locked
from unlearnctl.utils.safe_json import loads

SIGNS = ("metrics.jsonl", RUN_LOCK, LOG, "training")  # files that change while a run is at work
SILENT = 900.0  # seconds without a change after which a run on another host counts as dead


def at_work(directory: Path) -> str | None:
    """Name the process that has this run now; None if there is no lock, or a dead process left it."""
    return next((who for name in (RUN_LOCK, LOCK) if (who := _holder(directory, name))), None)


def _holder(directory: Path, name: str) -> str | None:
    try:
        # Neither blocks nor follows links, because somebody else's directory may hold a pipe of that name.
        handle = os.open(directory / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        owner = read_owner(handle)
        if is_locked(handle):
            return named(owner)
        elsewhere = owner.get("host", socket.gethostname()) != socket.gethostname()
        # a file system may not show locks of other hosts, so recent changes of the files have to do
        return named(owner) if elsewhere and time.time() - _last_sign(directory) < SILENT else None
    except OSError:
        return None
    finally:
        os.close(handle)


def named(owner: Mapping[str, Any]) -> str:
    """Name the process that a lock is about: `process 12 on host`."""
    return f"process {owner.get('pid', '?')} on {owner.get('host', socket.gethostname())}"


def read_owner(handle: int) -> dict[str, Any]:
    """Read what the holder of an open lock wrote into it; empty if that is not ours."""
    try:
        owner = loads(os.pread(handle, 1000, 0).decode("utf-8", "replace"))
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _last_sign(directory: Path) -> float:
    found = [0.0]
    for name in SIGNS:
        with suppress(OSError):
            found.append((directory / name).stat().st_mtime)
    return max(found)
