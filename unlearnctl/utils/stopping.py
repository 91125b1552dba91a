"""What ends a command from outside: Ctrl-C, or a signal that is not it."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGHUP)  # besides SIGINT, which Python raises by itself


class Stopped(KeyboardInterrupt):
    """A signal other than Ctrl-C's: what stops at Ctrl-C stops at this too."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def stop(number: int) -> KeyboardInterrupt:
    """The exception for a signal."""
    return KeyboardInterrupt() if number == signal.SIGINT else Stopped(number)


def number_of(error: BaseException | None) -> int:
    """The signal behind a `KeyboardInterrupt`."""
    return error.number if isinstance(error, Stopped) else signal.SIGINT


def told(number: int) -> str:
    """How a stop is called, on the terminal and in results.json."""
    return (
        "interrupted by Ctrl-C" if number == signal.SIGINT else f"terminated ({signal.Signals(number).name})"
    )


def stop_of(reason: object) -> KeyboardInterrupt:
    """The exception for what `told` said."""
    named = re.search(r"\((SIG[A-Z]+)\)$", str(reason))
    return stop(
        signal.Signals[named[1]] if named and named[1] in signal.Signals.__members__ else signal.SIGINT
    )


@contextmanager
def listening() -> Iterator[None]:
    """Turn the signals into `Stopped`, except those that somebody handles or ignores (nohup) already."""

    def handle(number: int, frame: object) -> None:
        raise Stopped(number)

    ours = [number for number in SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    try:
        for number in ours:
            signal.signal(number, handle)
    except ValueError:  # not in the main thread: signals stay with whoever owns it
        ours = []
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def interruptible() -> Iterator[Callable[[], int]]:
    """The first Ctrl-C, SIGTERM or SIGHUP asks the loop to stop after the step, so that it can save; the second kills.

    Yields what returns the signal's number, 0 if there was none.
    """
    seen: list[int] = []

    def note(number: int, frame: object) -> None:
        if seen:
            raise stop(number)
        seen.append(number)

    try:
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # by nohup
        heard = (signal.SIGINT, *(s for s in SIGNALS if s != signal.SIGHUP or not ignored))
        old = {s: signal.signal(s, note) for s in heard}
    except ValueError:  # not in the main thread: signals stay with whoever owns it
        yield lambda: 0
        return
    try:
        yield lambda: seen[0] if seen else 0
    finally:
        for s, handler in old.items():
            signal.signal(s, handler)
