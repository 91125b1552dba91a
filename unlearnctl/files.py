"""Files that are there whole or not at all; what the system refuses is said with the file's name."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the system in this block name `path`: also where they name no file, or come from safetensors.

    Raises:
        OSError: with `errno`, `strerror` and `filename`.
    """
    try:
        yield
    except OSError as error:
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(path)) from error
    except Exception as error:
        code = re.search(r"(?:\bcode: |\bos error )(\d+)", str(error))
        if type(error).__name__ != "SafetensorError" or code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary path beside the target; on success flushed to disk and renamed over it, else removed.

    Raises:
        OSError: named after the target, which is then as it was.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with naming(target):
        try:
            yield temporary
            flush(temporary)
            temporary.replace(target)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """A file's content, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, text: str) -> None:
    """The old text or the new one, never half of one.

    Raises:
        OSError: see `replacing`.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def why(error: OSError) -> str:
    """`PATH: No space left on device`."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason
