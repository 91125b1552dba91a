"""One process at a time in a run directory: `run.lock` names it, and the kernel knows whether it lives."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from unlearnctl.runs.live import take
from unlearnctl.utils.atomic import naming, open_ours
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.safe_json import loads

NAME = "run.lock"


@contextmanager
def locked(directory: Path, wanted: bool = True) -> Iterator[None]:
    """Hold the directory; `wanted` is False for all ranks but the first.

    A lock that a dead process left on this host is taken over. Of a process on another host nothing can be known,
    so its lock holds until its file is gone.

    Raises:
        UserError: another process has it.
        OSError: the file cannot be written.
    """
    if not wanted:
        yield
        return
    with _open(directory) as file:
        path, me = directory / NAME, socket.gethostname()
        owner = _owner(file)
        if owner.get("host", me) != me:
            raise UserError(
                f"{path}: {_who(owner)} has this run; if that process is gone, delete the file (from {me} it cannot "
                "be seen whether it lives)"
            )
        try:
            with naming(path):
                os.ftruncate(file.fileno(), 0)
                os.write(file.fileno(), f"{json.dumps({'pid': os.getpid(), 'host': me})}\n".encode())
            yield
        finally:
            with suppress(OSError):  # the directory may be gone, or read-only by now
                path.unlink(missing_ok=True)


def _open(directory: Path) -> TextIO:
    """The lock's file, locked."""
    while True:
        file = open_ours(directory / NAME, "a+", encoding="utf-8")
        try:
            take(file.fileno())
        except BlockingIOError:
            owner = _owner(file)
            file.close()
            raise UserError(f"{directory}: {_who(owner)} is at work in it; wait until it has ended") from None
        if _same(file, directory / NAME):
            return file
        file.close()  # its holder removed it between the two calls: what is locked here is no longer the lock


def _same(file: TextIO, path: Path) -> bool:
    try:
        return os.fstat(file.fileno()).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def _owner(file: TextIO) -> dict[str, object]:
    file.seek(0)
    try:
        owner = loads(file.read())
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _who(owner: dict[str, object]) -> str:
    return f"process {owner.get('pid', '?')} on {owner.get('host', '?')}"
