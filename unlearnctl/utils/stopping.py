"""How a command is stopped from outside: Ctrl-C, SIGTERM or SIGHUP."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGHUP)  # besides SIGINT, which Python turns into an exception by itself


class Stopped(KeyboardInterrupt):
    """A signal other than Ctrl-C's; a subclass, so that whatever handles Ctrl-C handles it too."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def exception_for(number: int) -> KeyboardInterrupt:
    """Return the exception for a signal."""
    return KeyboardInterrupt() if number == signal.SIGINT else Stopped(number)


def signal_of(error: BaseException | None) -> int:
    """Return the number of the signal behind a `KeyboardInterrupt`."""
    return error.number if isinstance(error, Stopped) else signal.SIGINT


def describe_signal(number: int) -> str:
    """Describe a stop as the terminal and results.json do."""
    if number == signal.SIGINT:
        return "interrupted by Ctrl-C"
    return f"terminated ({signal.Signals(number).name})"


def exception_from(reason: object) -> KeyboardInterrupt:
    """Return the exception for a description by `describe_signal`."""
    named = re.search(r"\((SIG[A-Z]+)\)$", str(reason))
    if named and named[1] in signal.Signals.__members__:
        return exception_for(signal.Signals[named[1]])
    return exception_for(signal.SIGINT)


@contextmanager
def signals_raise() -> Iterator[None]:
    """Turn signals into `Stopped`, except those that are already handled or ignored (as nohup does)."""

    def handle(number: int, frame: object) -> None:
        raise Stopped(number)

    ours = [number for number in SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    try:
        for number in ours:
            signal.signal(number, handle)
    except ValueError:  # Python sets handlers in the main thread alone
        ours = []
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def interruptible() -> Iterator[Callable[[], int]]:
    """Let the first Ctrl-C, SIGTERM or SIGHUP stop a loop after its step, so that it can save; a second one raises.

    Yields a function that returns the signal's number, or 0 if there was none.
    """
    seen: list[int] = []

    def note(number: int, frame: object) -> None:
        if seen:
            raise exception_for(number)
        seen.append(number)

    try:
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # by nohup
        heeded = (signal.SIGINT, *(s for s in SIGNALS if s != signal.SIGHUP or not ignored))
        old = {s: signal.signal(s, note) for s in heeded}
    except ValueError:  # Python sets handlers in the main thread alone
        yield lambda: 0
        return
    try:
        yield lambda: seen[0] if seen else 0
    finally:
        for s, handler in old.items():
            signal.signal(s, handler)
