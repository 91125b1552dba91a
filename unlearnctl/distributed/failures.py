"""Failures of workers: each worker writes its error in one line, the parent reads the first.

An exit code would not do: the launcher returns its own, and its log holds a traceback for every rank.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from unlearnctl.utils.errors import UserError
from unlearnctl.utils.explain import explain

FOLDER = "UNLEARNCTL_FAILURES"  # environment variable of workers: the folder for RANK.failure


@dataclass(frozen=True)
class Failure:
    """The error of one worker."""

    line: str
    known: bool  # a user's mistake, so no traceback is needed


def note_failure(error: Exception, rank: int) -> None:
    """Leave a worker's error for the parent."""
    mistake = isinstance(error, UserError)
    line = explain(error) if mistake else f"rank {rank}: {explain(error)}"
    # The monotonic clock is the same for all processes of a machine, so times order the failures.
    record = {"time": time.monotonic(), "line": line, "known": mistake}
    (Path(os.environ[FOLDER]) / f"{rank}.failure").write_text(json.dumps(record), encoding="utf-8")


def failed_rank(folder: Path) -> Failure | None:
    """Return the first failure: later ones mostly come from ranks whose partner is gone."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*.failure")]
    if not found:
        return None
    first = min(found, key=lambda record: record["time"])
    line = first["line"].replace(" (run again with --debug for the traceback)", "")
    return Failure(line, first["known"])


def killed_rank(log: str) -> str | None:
    """Find in the launcher's log which rank was killed by a signal, and so could not leave its error."""
    # Negative exit codes are signals, by subprocess's convention.
    for rank, number in re.findall(r"rank\s*: (\d+) .*\n\s*exitcode\s*: -(\d+)", log):
        if int(number) not in (signal.SIGTERM, signal.SIGINT):  # by which the launcher stops the other ranks
            hint = ": out of memory?" if int(number) == signal.SIGKILL else ""
            return f"rank {rank} was killed by {signal.Signals(int(number)).name}{hint}"
    return None
