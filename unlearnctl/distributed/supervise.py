"""One launcher process and all below it: signals go on to the workers, and nothing outlives the call."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from unlearnctl.distributed.watchdog import Watch
from unlearnctl.utils.stopping import SIGNALS, stop

FORWARDED = (signal.SIGINT, *SIGNALS)


@dataclass(frozen=True)
class Ended:
    """How it went: the launcher's exit code, and the first signal that came meanwhile."""

    code: int
    signal: int | None
    hung: bool = False  # nobody gave a sign of life, so all were ended

    def reraise(self) -> None:
        """As one process would end after that signal.

        Raises:
            KeyboardInterrupt: there was one.
        """
        if self.signal:
            raise stop(self.signal)


def supervise(
    command: Sequence[str], environment: Mapping[str, str], log: Path, watch: Watch | None = None
) -> Ended:
    """Run a launcher to its end.

    The first SIGINT, SIGTERM or SIGHUP goes to the workers, which save and stop as one process would; the launcher
    itself would give them thirty seconds. The second kills all.

    Args:
        command: the launcher's.
        environment: its whole environment.
        log: takes its standard error; the standard output is ours.
        watch: says when the workers have been silent for too long; None: they may be.
    """
    seen: list[int] = []
    started: list[subprocess.Popen] = []

    def forward(number: int, frame: object) -> None:
        seen.append(number)
        if started:
            _pass_on(started[0].pid, number, again=len(seen) > 1)

    try:
        heard = [number for number in FORWARDED if signal.getsignal(number) is not signal.SIG_IGN]
        old = {number: signal.signal(number, forward) for number in heard}
    except ValueError:  # not in the main thread: signals stay with whoever owns it
        old = {}
    try:
        with log.open("wb") as errors:
            # a session of its own: the terminal's Ctrl-C reaches the workers once, through us
            started.append(subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stderr=errors, start_new_session=True
            ))  # fmt: skip
            if seen:  # before there was anyone to pass it on to
                _kill(started[0].pid)
            hung = watch is not None and _is_silent(started[0], watch)
            if hung:
                _ask_where(started[0].pid)
                _kill(started[0].pid)
            return Ended(started[0].wait(), seen[0] if seen else None, hung)
    finally:
        for process in started:
            _kill(process.pid)
            process.wait()
        for number, handler in old.items():
            signal.signal(number, handler)


def _is_silent(launcher: subprocess.Popen, watch: Watch) -> bool:
    """Wait for its end, and be False then; True as soon as its workers are silent."""
    while True:
        try:
            launcher.wait(timeout=0.5)
            return False
        except subprocess.TimeoutExpired:
            if watch.silent():
                return True


def _ask_where(launcher: int) -> None:
    """Have each worker write its stack."""
    with suppress(psutil.NoSuchProcess):
        for worker in psutil.Process(launcher).children():
            with suppress(psutil.NoSuchProcess):
                worker.send_signal(signal.SIGUSR1)
        time.sleep(1)


def _pass_on(launcher: int, number: int, again: bool) -> None:
    with suppress(psutil.NoSuchProcess):
        workers = psutil.Process(launcher).children()
        if again or not workers:
            _kill(launcher)
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.send_signal(number)


def _kill(launcher: int) -> None:
    """The launcher and all that descends from it; what is gone already is left alone."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(launcher)
        if process.ppid() != os.getpid():
            return
        below = process.children(recursive=True)
        for each in (process, *below):
            with suppress(psutil.NoSuchProcess):
                each.kill()
