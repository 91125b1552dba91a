"""Show a running sweep: a live table in a terminal, otherwise a line for each member that ends.

The board reads the status files, so it works the same for every launcher, whichever processes the members are in.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from unlearnctl.results.run import compare
from unlearnctl.results.schema import read_results
from unlearnctl.results.trade_off import Trade, trade
from unlearnctl.runs.layout import FILE
from unlearnctl.sweeps.members import Member, labels
from unlearnctl.sweeps.status import QUIET, Status
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.safe_json import loads

OVER = ("done", "failed", "interrupted")
ORDER = {"running": 0, "failed": 1, "interrupted": 1, "done": 2, "planned": 3}
STYLE = {"failed": "red", "interrupted": "yellow", "running": "bold", "planned": "dim"}


class Board:
    """Watches the members of a sweep from a separate thread, as a context manager.

    Args:
        members: each config once.
        console: where to print; None for the standard output.
        every: seconds between two reads of the status files.
    """

    def __init__(self, members: Sequence[Member], console: Console | None = None, every: float = 1.0) -> None:
        self.members, self.names, self.every = list(members), labels(members), every
        self.console = console or Console(file=sys.stdout)
        self.trades: dict[Path, Trade | None] = {}
        self.read: dict[Path, tuple[tuple[int, int], Status]] = {}
        self.seen = {m.directory for m in self.members if m.status.state == "done"}
        # Attempts made before this sweep or resumption: how they ended is not reported again.
        self.tries = {m.directory: m.status.attempt for m in self.members}
        self.already, self.since = len(self.seen), time.monotonic()
        self.stopped, self.thread = threading.Event(), threading.Thread(target=self._watch, daemon=True)
        self.live: Live | None = None
        self.quiet: str | None = None

    def __enter__(self) -> Board:
        if self.console.is_terminal:
            self.live = Live(console=self.console, auto_refresh=False, redirect_stdout=False)
            self.live.start()
            self.quiet, os.environ[QUIET] = os.environ.get(QUIET), "1"
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stopped.set()
        self.thread.join()
        self.look()  # once more: members may have ended since the thread last looked
        if self.live:
            self.live.stop()
            os.environ.pop(QUIET)
            if self.quiet is not None:
                os.environ[QUIET] = self.quiet

    def _watch(self) -> None:
        while not self.stopped.wait(self.every):
            self.look()

    def look(self) -> None:
        """Read all status files once and show what has changed."""
        found = [(member, self._status(member)) for member in self.members]
        fresh = [
            m.directory
            for m, s in found
            if s.state in OVER and s.attempt > self.tries[m.directory] and m.directory not in self.seen
        ]
        self.seen.update(fresh)
        if self.live:
            self.live.update(self.table(found), refresh=True)
        elif fresh:
            print(self.line([status for _, status in found]), flush=True)

    def _status(self, member: Member) -> Status:
        """Read the status again only if its file was replaced: of thousands of members, few change each second."""
        try:
            seen = (member.directory / FILE).stat()
        except OSError:
            return member.status
        sign = (seen.st_mtime_ns, seen.st_ino)
        if self.read.get(member.directory, (None,))[0] != sign:
            self.read[member.directory] = (sign, member.status)
        return self.read[member.directory][1]

    def line(self, states: Sequence[Status]) -> str:
        """Return `members: 3 of 24 done, 1 failed; best hypervolume 0.81 (alpha=10); about 2 min left`."""
        count = Counter(status.state for status in states)
        parts = [f"{count['done']} of {len(states)} done"]
        parts += [f"{count[state]} {state}" for state in ("failed", "interrupted") if count[state]]
        said = [f"members: {', '.join(parts)}"]
        if best := self.best():
            name, point = best
            said.append(f"best hypervolume {point.hypervolume:.3f} ({name})")
        left = len(states) - len(self.seen)
        if left and (over := len(self.seen) - self.already):
            said.append(f"about {duration((time.monotonic() - self.since) / over * left)} left")
        return "; ".join(said)

    def best(self) -> tuple[str, Trade] | None:
        """Return the finished member with the largest hypervolume (forgotten × retained share)."""
        for directory in self.seen - set(self.trades):
            self.trades[directory] = read_trade(directory)
        scored = [(self.names[d], point) for d, point in self.trades.items() if point]
        return max(scored, key=lambda pair: pair[1].hypervolume, default=None)

    def table(self, found: Sequence[tuple[Member, Status]]) -> Table:
        """Return as many members as fit into the terminal, running ones first."""
        table = Table(
            box=box.SIMPLE_HEAD, title=self.line([status for _, status in found]), title_justify="left"
        )
        for name in ("member", "settings", "state", "step", "forgotten", "kept", "s"):
            table.add_column(name, justify="right" if name in ("step", "forgotten", "kept", "s") else "left")
        room = max(4, self.console.height - 7)
        ranked = sorted(found, key=lambda pair: (ORDER.get(pair[1].state, 4), pair[1].finished or ""))
        for member, status in ranked[:room]:
            table.add_row(*self._cells(member, status), style=STYLE.get(status.state, ""))
        if len(ranked) > room:
            table.add_row("…", f"and {len(ranked) - room} more", style="dim")
        return table

    def _cells(self, member: Member, status: Status) -> list[Text]:
        point = self.trades.get(member.directory)
        scores = [f"{value:.3f}" if point else "" for value in point or ("", "")]
        step = last_step(member.directory) if status.state == "running" else ""
        seconds = f"{status.seconds:.0f}" if status.seconds is not None else ""
        what = self.names[member.directory] if status.error is None else status.error
        return [Text(cell) for cell in (member.directory.name, what, status.state, step, *scores, seconds)]


def read_trade(directory: Path) -> Trade | None:
    """Read the trade-off from a member's results.json; None if there is none, or not both types of metrics."""
    try:
        return trade(compare(read_results(directory / "results.json")))
    except UserError:
        return None


def last_step(directory: Path) -> str:
    """Return the newest step in metrics.jsonl, or an empty text if there is none yet."""
    try:
        with (directory / "metrics.jsonl").open("rb") as file:
            # Only the end is read, because this happens every second for every running member. Its first line may be
            # half a row.
            file.seek(max(0, file.seek(0, 2) - 4096))
            rows: list[Any] = []
            for line in file.read().decode("utf-8", "replace").splitlines():
                try:
                    rows.append(loads(line))
                except ValueError:
                    continue
        trained = [row["step"] for row in rows if isinstance(row, dict) and row.get("kind") == "train"]
        return str(max(step for step in trained if isinstance(step, int)))
    except (OSError, ValueError, KeyError):
        return ""


def duration(seconds: float) -> str:
    """Format seconds as `40 s`, `3 min` or `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
