"""python -m tests.bad_inputs.times [--processes N]: how long each mistake takes to be reported, slowest first.

In this process, libraries imported; with `--processes`, every Nth in a process of its own as well, its start included.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.bad_inputs.bench import Entry, entries, fixtures, lay_out
from tests.command import run

os.environ["HF_HUB_OFFLINE"] = "1"  # as the tests have it
ROOT = Path(__file__).parent.parent.parent
SHOWN = 8


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=0, metavar="N")
    every = parser.parse_args().processes
    with TemporaryDirectory() as place:
        store = Path(place)
        fixtures(store)
        report("in one process", measured(entries(), store, lambda entry: run(*entry.args)))
        if every:
            report("each in a process of its own", measured(entries()[::every], store, _process))


def _process(entry: Entry) -> None:
    command = [sys.executable, "-m", "unlearnctl", *entry.args]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, env=environment, capture_output=True, check=False)


def measured(chosen: list[Entry], store: Path, work: Callable[[Entry], object]) -> list[tuple[float, str]]:
    """Seconds and name of each, slowest first."""
    found = []
    for entry in chosen:
        with TemporaryDirectory() as place:
            os.chdir(place)
            lay_out(entry.make, store)
            started = time.perf_counter()
            work(entry)
            found.append((time.perf_counter() - started, f"{entry.file}/{entry.id}"))
            os.chdir(ROOT)
    return sorted(found, reverse=True)


def report(title: str, found: list[tuple[float, str]]) -> None:
    """Count, median, and the slowest."""
    seconds = [each for each, _ in found]
    print(f"{title}: {len(found)} entries, {sum(seconds):.0f} s in all, median {median(seconds):.2f} s")
    for each, name in found[:SHOWN]:
        print(f"  {each:6.2f} s  {name}")


if __name__ == "__main__":
    main()
