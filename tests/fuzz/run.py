"""The long fuzz run: `python -m tests.fuzz.run --executions 1000000`.

Each target has a process of its own, so that a crash of the interpreter, a hang and its memory are its own. The
executions are shared out by the targets' weights: fast readers get most, matplotlib and Hydra few. Times are of the
processor. Every finding is a file under `--findings`, and the exit code says whether there was one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import unlearnctl
from tests.fuzz.mutate import mutated
from tests.fuzz.target import Target, scratch

GROWTH = 256 << 20  # bytes of peak memory that one input of at most 16 KiB may add
PACKAGE = Path(unlearnctl.__file__).parent
KEPT = 20  # findings of one target that are written down
READERS = ("data-", "delta", "training-", "probes", "results", "sweep-files", "run-config", "table", "task")


class Hang(BaseException):
    """One execution took longer than its target's limit; no `except Exception` of a reader can swallow it."""


@dataclass
class Report:
    """What became of one target."""

    name: str
    executions: int = 0
    refused: int = 0  # that ended in a UserError
    seconds: float = 0.0  # of the thread on the processor, as is `slowest`
    slowest: float = 0.0
    peak: int = 0  # bytes, of the whole process
    grown: int = 0  # bytes, of them since the seeds had been read
    findings: dict[str, str] = field(default_factory=dict)  # place → what was raised there


def peak_memory() -> int:
    """Of this process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `Hang` after `seconds` of the processor, or twenty times as many on the clock: others may be at work."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Hang(f"more than {seconds:g} s")

    timers = (
        (signal.ITIMER_PROF, signal.SIGPROF, seconds),
        (signal.ITIMER_REAL, signal.SIGALRM, 20 * seconds),
    )
    held = [(kind, signal.signal(kind, stop)) for _, kind, _ in timers]
    for timer, _, after in timers:
        signal.setitimer(timer, after)
    try:
        yield
    finally:
        for timer, _, _ in timers:
            signal.setitimer(timer, 0)
        for kind, handler in held:
            signal.signal(kind, handler)


def place(error: BaseException) -> str:
    """File and line of the package, or else of the test, in which it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if Path(f.filename).is_relative_to(PACKAGE)]
    ours = ours or [f for f in frames if f.filename != __file__] or list(frames)
    return f"{type(error).__name__} at {Path(ours[-1].filename).name}:{ours[-1].lineno}"


def fuzz(target: Target, executions: int, seed: int, findings: Path) -> Report:
    """Run one target in this process."""
    seeds, random, report = list(target.seeds()), Random(f"{target.name}/{seed}"), Report(target.name)
    for data in seeds[:10]:
        target(data)
    last = scratch() / "last"  # outlives a crash of the interpreter: the parent reads it
    before = level = peak_memory()
    for _ in range(executions):
        data = mutated(random, seeds)
        last.write_bytes(data)
        begun = time.thread_time()
        try:
            with time_limit(target.limit):
                report.refused += target(data)
        except (Exception, Hang) as error:
            note(report, place(error), f"{error!s:.200}", data, findings)
        taken = time.thread_time() - begun
        report.seconds, report.slowest = report.seconds + taken, max(report.slowest, taken)
        report.executions += 1
        if (now := peak_memory()) - level > GROWTH:
            note(report, "memory", f"{(now - level) >> 20} MiB more", data, findings)
        level = now
    report.peak, report.grown = level, level - before
    return report


def note(report: Report, where: str, what: str, data: bytes, findings: Path) -> None:
    """Keep the first input of each place."""
    if where not in report.findings and len(report.findings) < KEPT:
        findings.mkdir(parents=True, exist_ok=True)
        (findings / f"{report.name}-{len(report.findings)}.bin").write_bytes(data)
        report.findings[where] = what


def _child(name: str, executions: int, seed: int, findings: Path, pipe: Any) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # progress bars and warnings of libraries
    pipe.send(scratch() / "last")
    pipe.send(fuzz(_target(name), executions, seed, findings))


def _target(name: str) -> Target:
    from tests.fuzz.targets import TARGETS

    if name.startswith("planted:"):  # of the driver's own tests
        from tests.fuzz.test_fuzz import planted

        what = name.removeprefix("planted:")
        limit = 0.5 if what == "hang" else 60.0
        return Target(name, lambda data: planted(what) if data != b"x" else None, lambda: [b"x"], limit=limit)
    return TARGETS[name]


def apart(name: str, executions: int, seed: int, findings: Path) -> Report:
    """Run one target in a process of its own; one that dies is a finding with its last input."""
    way = multiprocessing.get_context("forkserver")
    way.set_forkserver_preload(["tests.fuzz.targets"])  # the libraries are imported once
    here, there = way.Pipe()
    child = way.Process(target=_child, args=(name, executions, seed, findings, there))
    child.start()
    there.close()
    try:
        last = here.recv()
        return here.recv()
    except EOFError:
        child.join()
        report = Report(name)
        note(report, "died", f"exit code {child.exitcode}", last.read_bytes(), findings)
        return report
    finally:
        child.join()


def shares(names: Sequence[str], executions: int) -> dict[str, int]:
    """Executions of each target by its weight, at least ten."""
    from tests.fuzz.targets import TARGETS

    total = sum(TARGETS[name].share for name in names)
    return {name: max(10, round(executions * TARGETS[name].share / total)) for name in names}


def line(report: Report) -> str:
    """A row of the table."""
    rate = report.executions / max(report.seconds, 1e-9)
    return (
        f"{report.name:<20} {report.executions:>10,} {report.refused:>10,} {rate:>10,.0f} "
        f"{1000 * report.slowest:>10.1f} {report.peak >> 20:>9} {report.grown >> 20:>9} {len(report.findings):>9}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print the table; 1 if anything was found."""
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executions", type=int, default=1_000_000)
    parser.add_argument("--targets", nargs="*", default=list(TARGETS), choices=list(TARGETS), metavar="NAME")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    asked = parser.parse_args(argv)
    print(f"{'target':<20} {'executions':>10} {'refused':>10} {'a second':>10} {'slowest ms':>10} {'peak MiB':>9} "
          f"{'grown MiB':>9} {'findings':>9}", flush=True)  # fmt: skip
    found: list[Report] = []
    for name, executions in shares(asked.targets, asked.executions).items():
        found.append(apart(name, executions, asked.seed, asked.findings))
        print(line(found[-1]), flush=True)
    readers = sum(report.executions for report in found if report.name.startswith(READERS))
    print(f"\n{sum(r.executions for r in found):,} executions, {readers:,} of them of readers")
    for report in found:
        for where, what in report.findings.items():
            print(f"{report.name}: {where}: {what}")
    return int(any(report.findings for report in found))


if __name__ == "__main__":
    sys.exit(main())
