"""What went wrong in which process, in one line: written by workers, read by their parent."""

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

FOLDER = "UNLEARNCTL_FAILURES"  # environment variable of workers: where they leave their last words


@dataclass(frozen=True)
class Failure:
    """The last words of one worker."""

    line: str
    known: bool  # a user's mistake, which needs no traceback


def note_failure(error: Exception, rank: int) -> None:
    """Leave a worker's error for the parent; the monotonic clock is the same for all processes of a machine."""
    mistake = isinstance(error, UserError)
    line = explain(error) if mistake else f"rank {rank}: {explain(error)}"
    words = {"time": time.monotonic(), "line": line, "known": mistake}
    (Path(os.environ[FOLDER]) / f"{rank}.failure").write_text(json.dumps(words), encoding="utf-8")


def failed_rank(folder: Path) -> Failure | None:
    """The first failure: those after it are mostly of ranks that lost their partner."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*.failure")]
    if not found:
        return None
    first = min(found, key=lambda words: words["time"])
    line = first["line"].replace(" (run again with --debug for the traceback)", "")
    return Failure(line, first["known"])


def killed_rank(log: str) -> str | None:
    """Which rank a signal ended, by the launcher's own account; it has no last words."""
    for rank, number in re.findall(r"rank\s*: (\d+) .*\n\s*exitcode\s*: -(\d+)", log):
        if int(number) not in (signal.SIGTERM, signal.SIGINT):  # those are how a launcher ends the others
            hint = ": out of memory?" if int(number) == signal.SIGKILL else ""
            return f"rank {rank} was killed by {signal.Signals(int(number)).name}{hint}"
    return None
