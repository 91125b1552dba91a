"""Runs one launcher: forwards signals to its workers, and leaves no process behind."""

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

from unlearnctl.distributed.watchdog import Watchdog
from unlearnctl.utils.stopping import SIGNALS, exception_for

FORWARDED = (signal.SIGINT, *SIGNALS)


@dataclass(frozen=True)
class Ended:
    """How a launcher ended: its exit code, and the first signal that arrived meanwhile."""

    code: int
    signal: int | None
    hung: bool = False  # no rank gave a sign of life, so all were killed

    def reraise(self) -> None:
        """Raise what a single process would raise on that signal.

        Raises:
            KeyboardInterrupt: a signal arrived.
        """
        if self.signal:
            raise exception_for(self.signal)


def supervise(
    command: Sequence[str], environment: Mapping[str, str], log: Path, watchdog: Watchdog | None = None
) -> Ended:
    """Run a launcher until it ends.

    The first SIGINT, SIGTERM or SIGHUP is passed to the workers, not to the launcher: workers save and stop as a
    single process would, however long that takes, whereas the launcher kills them after thirty seconds. A second
    signal kills all.

    Args:
        command: the launcher's command line.
        environment: its whole environment.
        log: file for its standard error; it shares our standard output.
        watchdog: notices when the workers have been silent for too long; None: they may be.
    """
    seen: list[int] = []
    started: list[subprocess.Popen] = []

    def forward(number: int, frame: object) -> None:
        seen.append(number)
        if started:
            _pass_on(started[0].pid, number, again=len(seen) > 1)

    try:
        # A signal that is ignored stays so: under `nohup` the run is to outlive its terminal.
        heeded = [number for number in FORWARDED if signal.getsignal(number) is not signal.SIG_IGN]
        old = {number: signal.signal(number, forward) for number in heeded}
    except ValueError:  # Python sets handlers in the main thread alone
        old = {}
    try:
        with log.open("wb") as errors:
            # In a session of its own, so that the terminal's Ctrl-C reaches the workers once, through us.
            launcher = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stderr=errors, start_new_session=True
            )
            started.append(launcher)
            if seen:  # it arrived before there was a launcher
                _kill(launcher.pid)
            hung = watchdog is not None and _is_silent(launcher, watchdog)
            if hung:
                _dump_stacks(launcher.pid)
                _kill(launcher.pid)
            return Ended(launcher.wait(), seen[0] if seen else None, hung)
    finally:  # a worker that outlived its command would keep its memory and its GPU
        for process in started:
            _kill(process.pid)
            process.wait()
        for number, handler in old.items():
            signal.signal(number, handler)


def _is_silent(launcher: subprocess.Popen, watchdog: Watchdog) -> bool:
    """Wait until the launcher ends, and return False; return True as soon as its workers are silent."""
    while True:
        try:
            launcher.wait(timeout=0.5)
            return False
        except subprocess.TimeoutExpired:
            if watchdog.silent():
                return True


def _dump_stacks(launcher: int) -> None:
    """Make each worker write its stack trace (see `worker._dump_stack_on_signal`)."""
    with suppress(psutil.NoSuchProcess):
        for worker in psutil.Process(launcher).children():
            with suppress(psutil.NoSuchProcess):
                worker.send_signal(signal.SIGUSR1)
        time.sleep(1)  # for them to write


def _pass_on(launcher: int, number: int, again: bool) -> None:
    """Send a signal to the workers; kill everything if it is the second one, or if there are no workers yet."""
    with suppress(psutil.NoSuchProcess):
        workers = psutil.Process(launcher).children()
        if again or not workers:
            _kill(launcher)
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.send_signal(number)


def _kill(launcher: int) -> None:
    """Kill the launcher and all its descendants.

    A pid that is no longer our child belongs to another program by now, and is left alone.
    """
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(launcher)
        if process.ppid() != os.getpid():
            return
        below = process.children(recursive=True)
        for each in (process, *below):
            with suppress(psutil.NoSuchProcess):
                each.kill()
