"""Errors that a user can act on, in one line: the key at fault, its value, what is allowed."""

from __future__ import annotations

import difflib
import shlex
import sys
from collections.abc import Iterable

from unlearnctl.utils.redact import redact

LONGEST = 2000  # characters of a message: a damaged file may hold names of any length


class UserError(Exception):
    """A mistake in config, data or checkpoint: shown as one line, secrets redacted, exit code 2, no traceback."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(redact(message)))


def plain(text: object) -> str:
    """Put any text on one line, without control characters (terminal escapes included)."""
    return "".join(char if char.isprintable() else " " for char in str(text))


def one_line(text: object) -> str:
    """Apply `plain`, and cut at `LONGEST`: messages quote files and arguments, which may hold anything."""
    shown = plain(str(text)[: LONGEST + 1])
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return `" (did you mean 'rmu'?)"` for the closest of `allowed`, or an empty string."""
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""


def unknown(key: str, value: object, allowed: Iterable[str]) -> UserError:
    """Return the standard error for a name that does not exist."""
    options = sorted(allowed)
    return UserError(f"{key}={value}: unknown{nearest(str(value), options)}. Allowed: {', '.join(options)}")


def unknown_key(group: str, name: object, allowed: Iterable[str]) -> UserError:
    """Return the standard error for a setting that a group (empty: the whole config) does not have."""
    options = sorted(allowed)
    key = f"{group}.{name}" if group else f"{name}"
    return UserError(f"{key}: unknown key{nearest(str(name), options)}. Allowed: {', '.join(options)}")


def out_of_memory(error: BaseException) -> bool:
    """Return whether the GPU or the machine ran out of memory, in any of the ways torch and Python report it."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def brief(error: BaseException, most: int = 200) -> str:
    """Shorten a library's message to its first line, and the next one after a colon; its type if it has no message.

    Secrets are redacted before the line is cut to `most` characters: half a secret would no longer be recognised.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return redact(" ".join(lines[: 2 if lines[0].endswith(":") else 1]))[:most]


def prefetch_hint() -> str:
    """Return how to fetch, on a machine with a network, what the running command did not find."""
    program, *args = [*sys.argv, ""]
    wanted = shlex.join(arg for arg in args if arg and not arg.startswith(("-", "run=")))
    known = program == "unlearnctl train"  # cli.py makes argv[0] "unlearnctl VERB"
    return f"; fetch it where there is a network: unlearnctl prefetch {wanted if known else ''}".rstrip()
