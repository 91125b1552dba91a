"""Compare many runs in one table: how their configs differ, and what they measured."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from unlearnctl.reporting.summary_columns import cell, columns_of, differing, short, sort_key
from unlearnctl.reporting.terminal import ARROW
from unlearnctl.results.run import Row, Run, load_run, main_pair
from unlearnctl.results.schema import ENDED
from unlearnctl.results.trade_off import Trade, trade
from unlearnctl.runs.live import at_work
from unlearnctl.utils import numbers
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.safe_json import loads

FRONT = "●"
MARKS = ("results.json", "config.yaml", "status.json")  # a directory with one of these is a run


@dataclass(frozen=True)
class Member:
    """One run that has results."""

    run: Run
    config: dict[str, object]
    rows: dict[tuple[str, str], Row]
    live: bool = False

    def row(self, metric: tuple[str, str]) -> Row:
        """Return the row of a metric, empty if this run has none."""
        return self.rows.get(metric, Row(*metric))

    @property
    def status(self) -> str:
        """Return `completed`, `interrupted`, `stopped_early`, or `running` while a process resumes it."""
        return "running" if self.live else numbers.plain(self.run.results.get("status") or "unknown")


@dataclass(frozen=True)
class Summary:
    """`keys`: config keys that differ. `columns`: those that a reader needs. `front`: unbeaten members."""

    members: list[Member]
    failed: list[tuple[Path, str]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    metrics: list[tuple[str, str]] = field(default_factory=list)
    front: set[int] = field(default_factory=set)
    running: list[tuple[Path, str]] = field(default_factory=list)  # no results yet, but a process is at work

    def row(self, metric: tuple[str, str]) -> Row:
        """Return any member's row of this metric, for its role and goal."""
        return self._heads[metric]

    @cached_property
    def _heads(self) -> dict[tuple[str, str], Row]:
        return {metric: row for member in reversed(self.members) for metric, row in member.rows.items()}

    @cached_property
    def pair(self) -> tuple[Row, Row] | None:
        """Return the forget and the retain metric by which runs are compared."""
        return main_pair([self.row(metric) for metric in self.metrics])

    @cached_property
    def trades(self) -> dict[int, Trade]:
        """Return the forgotten and retained share of members that have both, by their place."""
        found = ((place, trade(member.run.rows)) for place, member in enumerate(self.members))
        return {place: point for place, point in found if point is not None}

    @cached_property
    def baseline(self) -> Member | None:
        """Return a member whose 'before' holds for all, if all started from the same model."""
        starts = {tuple(m.row(key).before.value for key in self.metrics) for m in self.members}
        return self.members[0] if len(starts) == 1 and set(*starts) != {None} else None

    def label(self, member: Member) -> str:
        """Label a member by the settings in which it differs: `layer=3, alpha=1`."""
        pairs = [f"{short(key, self.columns)}={cell(member.config, key)}" for key in self.columns]
        return ", ".join(pairs) or numbers.plain(member.run.path.name)


def find_runs(root: Path) -> list[Path]:
    """Find run directories at or below `root`: with results, or begun (config.yaml) and failed."""
    found = []
    for folder, inner, files in os.walk(root):  # leaves out links to folders, and what cannot be read
        if not set(MARKS).isdisjoint(files):
            found.append(Path(folder))
            inner.clear()
    return sorted(found)


def summarise(run_dirs: Iterable[Path]) -> Summary:
    """Read the runs, find what differs, sort by it.

    Runs without readable results are listed as failed, or as running where a process is at work.
    """
    members: list[Member] = []
    failed: list[tuple[Path, str]] = []
    running: list[tuple[Path, str]] = []
    for path in map(Path, run_dirs):
        who = at_work(path)
        try:
            _check_name(path)
            run = load_run(path, history=False)
        except (UserError, OSError) as error:
            why = str(error).removeprefix(f"{path}: ").partition(", so there is nothing")[0]
            place = Path(os.fsencode(path).decode("utf-8", "backslashreplace"))
            if who:
                running.append((place, who))
            else:
                failed.append((place, _sweeps_word(path) or why))
        else:
            rows = {(row.suite, row.metric): row for row in run.rows}
            members.append(
                Member(run, numbers.flatten(run.results.get("config") or {}), rows, _is_resumed(run, who))
            )
    if not members and not failed and not running:
        raise UserError(
            "no run directories given. Allowed: directories with a results.json, or one above them"
        )
    configs = [member.config for member in members]
    keys = differing(configs)
    columns = columns_of(keys, configs)
    members.sort(key=lambda member: [sort_key(member.config.get(key)) for key in columns])
    metrics = list(dict.fromkeys(metric for member in members for metric in member.rows))
    return Summary(members, failed, keys, columns, metrics, _front(members), running)


def _check_name(path: Path) -> None:
    """Refuse a path that no page and no table could hold."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UserError("its name is not UTF-8") from None


def _is_resumed(run: Run, who: str | None) -> bool:
    """Tell whether a process is resuming a run that had ended early."""
    return who is not None and run.results.get("status") not in ENDED


def _sweeps_word(path: Path) -> str:
    """Return what a sweep noted about a member without results: its error, or its state."""
    try:
        status = loads((path / "status.json").read_text(encoding="utf-8"))
        state = "cut off" if status["state"] == "running" else status["state"]  # no process is at work in it
        return str(status.get("error") or state)
    except (OSError, ValueError, KeyError, AttributeError):
        return ""


def _front(members: list[Member]) -> set[int]:
    """Find members that no other beats: as good on both the forget and the retain metric, and better on one."""
    points: dict[int, tuple[float, float]] = {}
    for index, member in enumerate(members):
        pair = main_pair(list(member.rows.values()))
        losses = [_loss(row) for row in pair or ()]
        if len(losses) == 2 and None not in losses:
            points[index] = (losses[0] or 0.0, losses[1] or 0.0)
    unbeaten: set[tuple[float, float]] = set()
    least = math.inf
    for point in sorted(set(points.values())):  # points that follow are no better on the first metric
        if point[1] < least:
            unbeaten.add(point)
            least = point[1]
    return {index for index, point in points.items() if point in unbeaten}


def _loss(row: Row) -> float | None:
    """Return the value with its sign changed if needed, so that lower is better."""
    number = numbers.finite(row.after.value)
    return number if number is None or row.goal == "lower" else -number


def metric_name(summary: Summary, metric: tuple[str, str], several: bool) -> str:
    """Name a metric `hazard_acc ↓`, with its suite if there is more than one."""
    name = "/".join(metric) if several else metric[1]
    return f"{numbers.plain(name)} {ARROW.get(summary.row(metric).goal, '')}".rstrip()


def legend(summary: Summary) -> str:
    """Say how to read the table."""
    said = ["Before → after ± half of the 95 % interval", "↓ ↑ wanted direction"]
    if summary.pair and summary.front:
        forget, retain = (numbers.plain(row.metric) for row in summary.pair)
        said.append(f"{FRONT} no other run is better on both {forget} and {retain}")
    return "; ".join(said) + "." if summary.members else ""
