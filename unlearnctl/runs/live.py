"""Whether a process is at work in a run directory: seen from its locks and its last sign, without taking anything."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from unlearnctl.utils.safe_json import loads

LOCKS = ("run.lock", ".lock")  # of a run; of a member of a sweep, also before its run begins
SIGNS = ("metrics.jsonl", "run.lock", "log.txt", "training")  # what a run at work writes
SILENT = 900.0  # seconds without a sign after which a run on another host counts as cut off
PAUSES = (0.01, 0.05, 0.2)  # seconds: far longer than a look at a lock takes


def at_work(directory: Path) -> str | None:
    """`process 12 on host`, if one has this run now; None where its lock is gone, or was left by a dead process."""
    return next((who for name in LOCKS if (who := _holder(directory, name))), None)


def take(handle: int) -> None:
    """Lock a file for this process alone; a reader's look does not stop it.

    Raises:
        BlockingIOError: another process has it.
    """
    for pause in PAUSES:
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(pause)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(directory: Path, name: str) -> str | None:
    try:
        handle = os.open(directory / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        owner = _owner(handle)
        host = owner.get("host", socket.gethostname())
        who = f"process {owner.get('pid', '?')} on {host}"
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return who
        elsewhere = host != socket.gethostname()  # whose locks may not be seen here
        return who if elsewhere and time.time() - _last_sign(directory) < SILENT else None
    except OSError:
        return None
    finally:
        os.close(handle)


def _owner(handle: int) -> dict[str, Any]:
    try:
        owner = loads(os.read(handle, 1000).decode("utf-8", "replace"))
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _last_sign(directory: Path) -> float:
    found = [0.0]
    for name in SIGNS:
        with suppress(OSError):
            found.append((directory / name).stat().st_mtime)
    return max(found)
