"""Allow one process at a time in a run directory: `run.lock` names it, and the kernel knows whether it is alive."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from unlearnctl.runs.layout import RUN_LOCK
from unlearnctl.runs.live import at_work, named, read_owner
from unlearnctl.utils.atomic import naming
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.lock import lock_file


@contextmanager
def locked(directory: Path, wanted: bool = True) -> Iterator[None]:
    """Hold the directory; `wanted` is False on all ranks except the first.

    A lock that a dead process left on this host is taken over. We cannot see whether a process on another host is
    alive, so its lock holds until somebody deletes the file.

    Raises:
        UserError: another process has it.
        OSError: the file cannot be written.
    """
    if not wanted:
        yield
        return
    with _open(directory) as file:
        path, me = directory / RUN_LOCK, socket.gethostname()
        owner = read_owner(file.fileno())
        if owner.get("host", me) != me:
            raise UserError(
                f"{path}: {named(owner)} has this run; if that process is gone, delete the file "
                f"({me} cannot see whether it is alive)"
            )
        try:
            with naming(path):
                os.ftruncate(file.fileno(), 0)
                os.write(file.fileno(), f"{json.dumps({'pid': os.getpid(), 'host': me})}\n".encode())
            yield
        finally:
            # Deleted while the lock is still held: once it is released, the file may be another process's.
            with suppress(OSError):  # the directory may be gone or read-only now
                path.unlink(missing_ok=True)


def _open(directory: Path) -> TextIO:
    path = directory / RUN_LOCK
    try:
        return lock_file(path)
    except BlockingIOError:
        owner = at_work(directory) or "another process"
        raise UserError(f"{directory}: {owner} is at work in it; wait until it has ended") from None
