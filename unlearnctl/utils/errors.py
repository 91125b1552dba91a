"""Errors that a user can act on: one line, the key at fault, its value, what is allowed."""

from __future__ import annotations

import difflib
import shlex
import sys
from collections.abc import Iterable

from unlearnctl.utils.redact import redact

LONGEST = 2000  # characters of a message: names out of damaged files have no length


class UserError(Exception):
    """A mistake in config, data or checkpoint. Shown as one line without keys, exit code 2, no traceback."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(redact(message)))


def plain(text: object) -> str:
    """Any text on one line, without control characters (terminal escapes included)."""
    return "".join(char if char.isprintable() else " " for char in str(text))


def one_line(text: object) -> str:
    """`plain`, and no longer than `LONGEST`: messages quote files and arguments that may hold anything."""
    shown = plain(str(text)[: LONGEST + 1])
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"


def nearest(name: str, allowed: Iterable[str]) -> str:
    """`" (did you mean 'rmu'?)"` for the closest of `allowed`, or an empty string."""
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""


def unknown(key: str, value: object, allowed: Iterable[str]) -> UserError:
    """The standard sentence for a name that does not exist."""
    options = sorted(allowed)
    return UserError(f"{key}={value}: unknown{nearest(str(value), options)}. Allowed: {', '.join(options)}")


def unknown_key(group: str, name: object, allowed: Iterable[str]) -> UserError:
    """The standard sentence for a setting that a group (empty: the whole config) does not have."""
    options = sorted(allowed)
    key = f"{group}.{name}" if group else f"{name}"
    return UserError(f"{key}: unknown key{nearest(str(name), options)}. Allowed: {', '.join(options)}")


def out_of_memory(error: BaseException) -> bool:
    """Whether memory did not suffice: of the GPU, or of the machine, as torch or Python say it."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def brief(error: BaseException, most: int = 200) -> str:
    """First line of a library's message, with the next one after a colon; its type where it says nothing.

    Without keys, which are taken out before it is cut to `most` characters: half of one would no longer be known.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return redact(" ".join(lines[: 2 if lines[0].endswith(":") else 1]))[:most]


def prefetch_hint() -> str:
    """How to fetch, on a machine with a network, what the command being run did not find."""
    program, *args = [*sys.argv, ""]
    wanted = shlex.join(arg for arg in args if arg and not arg.startswith(("-", "run=")))
    known = program == "unlearnctl train"  # cli.py makes argv[0] "unlearnctl VERB"
    return f"; fetch it where there is a network: unlearnctl prefetch {wanted if known else ''}".rstrip()
