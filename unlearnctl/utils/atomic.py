"""The one home of files that we write: whole or not at all, never through a link; refusals name the file."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

FRESH = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


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
    """A temporary file beside the target; on success flushed to disk and renamed over it, else removed.

    Nobody can know its name before it is there. Its mode is what the umask says, whoever writes it. A link in the
    target's place is replaced, not followed.

    Raises:
        OSError: named after the target, which is then as it was.
    """
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    with naming(target):
        handle = os.open(temporary, FRESH, 0o666)
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        os.close(handle)
        try:
            yield temporary
            if (
                stat.S_IMODE(temporary.stat().st_mode) != mode
            ):  # safetensors writes a file of its own, for us alone
                temporary.chmod(mode)
            flush(temporary)
            temporary.replace(target)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def open_ours(path: Path, mode: str, **how: Any) -> Any:
    """A file to append to, or a lock: made if it is not there, and nothing but a file with this one name.

    Raises:
        OSError: it is a link, has another name, is no file, or cannot be opened.
    """
    with naming(path):
        file = open(path, mode, opener=_without_links, **how)  # noqa: SIM115  Path.open takes no opener
        seen = os.fstat(file.fileno())
        if stat.S_ISREG(seen.st_mode) and seen.st_nlink < 2:
            return file
        file.close()
        what = "has another name (a hard link)" if stat.S_ISREG(seen.st_mode) else "is no file"
        raise OSError(errno.EPERM, f"{what}, so nothing is written to it")


def _without_links(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "is a link, and nothing is written through links", path) from error
        raise


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


def made_once(folder: Path, make: Callable[[Path], None], message: str) -> None:
    """A folder of the cache, made by `make` in a draft if it is not there: whole or not at all, by one process.

    Args:
        folder: where it will be.
        make: fills the draft that it is given.
        message: said on standard error before the wait.
    """
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open_ours(folder.with_name(f".{folder.name}.lock"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be making it
        if folder.is_dir():
            return
        draft = folder.with_name(f".{folder.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed
        draft.mkdir()
        print(message, file=sys.stderr, flush=True)
        make(draft)
        draft.rename(folder)
