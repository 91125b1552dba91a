"""Lock files for one process at a time; the kernel releases a lock when its process dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from unlearnctl.utils.atomic import open_ours

PAUSES = (0.01, 0.05, 0.2)  # seconds: far longer than another process needs to look at a lock


def lock_file(path: Path, wait: bool = False) -> TextIO:
    """Open a file, made if need be, and lock it until it is closed.

    Args:
        path: of the file, whose content is kept.
        wait: for the process that has the lock to release it.

    Raises:
        BlockingIOError: another process has it, and we do not wait.
        OSError: it cannot be opened, or is no file of its own.
    """
    while True:
        file: TextIO = open_ours(path, "a+", encoding="utf-8")
        try:
            _lock(file, wait)
        except BaseException:
            file.close()
            raise
        if _is_at(file, path):
            return file
        file.close()  # its holder removed it after we had opened it, so that it locks nothing any more


def is_locked(handle: int) -> bool:
    """Tell whether another process has the lock of an open file, and take none."""
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(handle, fcntl.LOCK_UN)
    return False


def _lock(file: TextIO, wait: bool) -> None:
    if wait:
        fcntl.flock(file, fcntl.LOCK_EX)
        return
    for pause in PAUSES:  # `is_locked` of another process holds the lock for an instant
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(pause)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_at(file: TextIO, path: Path) -> bool:
    try:
        return os.fstat(file.fileno()).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def made_once(folder: Path, make: Callable[[Path], None], message: str) -> None:
    """Make a folder of the cache unless it exists: whole or not at all, by one process while others wait.

    Args:
        folder: where it will be.
        make: fills the draft folder that it is given.
        message: printed on standard error before the wait.
    """
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with lock_file(folder.with_name(f".{folder.name}.lock"), wait=True):
        if folder.is_dir():  # another process made it while we waited for the lock
            return
        draft = folder.with_name(f".{folder.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)  # left by a process that was killed
        draft.mkdir()
        print(message, file=sys.stderr, flush=True)
        make(draft)
        draft.rename(folder)
