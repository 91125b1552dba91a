"""Writing files: whole or not at all, never through a link; every error names the file.

Each file that the package writes goes through this module, so that a crash never leaves half a file, and nobody who
can place a link in a run's directory can make us write elsewhere.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

FRESH = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Make system errors in this block name `path`, also those that name no file, or that safetensors raises.

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
    """Yield a temporary file beside the target; on success flush it to disk and rename it over the target.

    Its name cannot be guessed, so nobody can place a link there first. Its mode follows the umask, whoever writes it.
    A link in the target's place is replaced, not followed.

    Raises:
        OSError: it names the target, which is then unchanged.
    """
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    with naming(target):
        handle = os.open(temporary, FRESH, 0o666)
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        os.close(handle)
        try:
            yield temporary
            if stat.S_IMODE(temporary.stat().st_mode) != mode:
                temporary.chmod(mode)  # safetensors replaces the file by one that only its owner can read
            flush(temporary)
            temporary.replace(target)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def open_ours(path: Path, mode: str, **how: Any) -> Any:
    """Open a file to append to, or a lock file; create it if need be. Refuse links of any kind.

    Raises:
        OSError: it is a link, has a second name, is not a regular file, or cannot be opened.
    """
    with naming(path):
        file = open(path, mode, opener=_without_links, **how)  # noqa: SIM115  Path.open takes no opener
        seen = os.fstat(file.fileno())
        if stat.S_ISREG(seen.st_mode) and seen.st_nlink < 2:
            return file
        file.close()
        what = "has another name (a hard link)" if stat.S_ISREG(seen.st_mode) else "is not a file"
        raise OSError(errno.EPERM, f"{what}, so nothing is written to it")


def _without_links(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "is a link, and nothing is written through links", path) from error
        raise


def flush(path: Path) -> None:
    """Flush a file's content, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def follow_umask(file: Path) -> None:
    """Give a file the mode that `open` would give it: safetensors creates files that only their owner can read."""
    mask = os.umask(0o077)  # the only way to read the mask is to set it
    os.umask(mask)
    file.chmod(0o666 & ~mask)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file such that readers see the old text or the new one, never half of one.

    Raises:
        OSError: see `replacing`.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def why(error: OSError) -> str:
    """Describe a system error: `PATH: No space left on device`."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason
