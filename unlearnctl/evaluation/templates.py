"""Prompt templates of tasks: compiled once, in jinja's sandbox, and held to a little time, memory and text."""

from __future__ import annotations

import functools
import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SECONDS = 2.0  # of the processor, for one text
MEMORY = 1 << 30  # bytes that one text may take while it is made
LONGEST = 4_000_000  # characters of a text
STATM = Path("/proc/self/statm")  # Linux; elsewhere memory is not held
AGAIN = 0.05  # seconds after which the size of the process is looked up again


class TooMuch(Exception):
    """Raised for a template that needs more than any prompt should."""


@contextmanager
def templates_compiled_once() -> Iterator[None]:
    """Compile each template once, in jinja's sandbox and with limits.

    The harness itself compiles a task's templates again for every question, without sandbox or limits.

    Raises:
        TooMuch: in this block, where a template takes too much.
    """
    import lm_eval.utils
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    theirs = lm_eval.utils.env
    if "from_string" in vars(theirs):  # within another such block
        yield
        return
    sandbox = ImmutableSandboxedEnvironment(undefined=theirs.undefined, keep_trailing_newline=True)
    sandbox.filters.update(theirs.filters)
    with _alarm():
        theirs.from_string = functools.cache(lambda source: _Limited(sandbox, source))
        try:
            yield
        finally:
            del theirs.from_string


class _Limited:
    """A template with limits; the harness uses only its `render`."""

    looked = 0.0  # when the size of the process was last looked up
    size = 0  # bytes, then

    def __init__(self, sandbox: Any, source: str) -> None:
        # Compiled in `render`, under its limits: jinja computes constant expressions when it compiles.
        self.compiled = functools.cache(lambda: sandbox.from_string(source))
        self.source = source

    def render(self, **fields: Any) -> str:
        """Return the text.

        Raises:
            TooMuch: it takes too much to make, or is too long.
        """
        try:
            with _limits():
                text = str(self.compiled().render(**fields))
        except (MemoryError, _TimeIsUp) as error:
            what = f"{MEMORY >> 30} GiB" if isinstance(error, MemoryError) else f"{SECONDS:g} s"
            raise TooMuch(f"the template {self.source[:60]!r} takes more than {what}") from None
        if len(text) > LONGEST:
            raise TooMuch(f"the template {self.source[:60]!r} makes more than {LONGEST:,} characters")
        return text


class _TimeIsUp(BaseException):
    """Raised by the alarm; nothing in between takes it for an error of its own."""


@contextmanager
def _alarm() -> Iterator[None]:
    """Set what the timer of `_limits` does inside this block."""

    def stop(number: int, frame: object) -> None:
        raise _TimeIsUp

    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's alone
        yield
        return
    held = signal.signal(signal.SIGVTALRM, stop)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, held)


@contextmanager
def _limits() -> Iterator[None]:
    """Limit time by a timer, which also ends long C loops that check for signals, and memory by the system's limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = _address_space() + MEMORY
    main = threading.current_thread() is threading.main_thread()
    lower = _Limited.size and (hard == resource.RLIM_INFINITY or most < hard)
    try:
        if lower and (soft == resource.RLIM_INFINITY or most < soft):
            resource.setrlimit(resource.RLIMIT_AS, (most, hard))
        if main:
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        yield
    finally:
        if main:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space() -> int:
    """Return the bytes of address space in use by this process; 0 where the system does not say."""
    now = time.monotonic()
    if now - _Limited.looked > AGAIN:
        _Limited.looked = now
        try:
            _Limited.size = int(STATM.read_text().split()[0]) * resource.getpagesize()
        except OSError:
            _Limited.size = 0
    return _Limited.size
