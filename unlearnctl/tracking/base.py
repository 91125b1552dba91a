"""What a tracker is, and the fan-out to several.

A row is one line of `metrics.jsonl`. These kinds are written (and "meta", "episode"):

    {"kind": "train", "step": 3, "loss": .2, "terms": {"forget": .1, "retain": .1}, "lr": 1e-3, ...}
    {"kind": "eval", "step": 50, "suites": {"tinyworld": {"hazard_acc": {"value": .3, ...}}}}
    {"kind": "system", "step": 51, "cpu_percent": 99.0, "memory_gb": 1.2, ...}
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from unlearnctl.utils.errors import UserError, brief

if TYPE_CHECKING:
    from unlearnctl.tracking.system import SystemMeter


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker knows about the run that it follows."""

    directory: Path
    config: Mapping[str, Any]  # the whole config, for the dashboard
    after: int | None = None  # the step from which a resumed run continues


class Sink(Protocol):
    """A place that takes rows."""

    def log(self, row: Mapping[str, Any], step: int) -> None:
        """Take one row of the run's optimiser step `step`."""

    def finish(self, status: str) -> None:
        """Close; `status` is how the run ended ("completed", "interrupted", "failed", ...)."""


class Tracker(Sink, Protocol):
    """A sink that a config names by its `_target_`.

    Its constructor takes the other keys of the `tracker` node and refuses wrong ones with a `UserError`, before any
    weights load; it touches neither disk nor network. `start` does, when the run begins.
    """

    def start(self, run: TrackedRun) -> None:
        """Begin to follow a run."""


class Trackers:
    """Hands every row to each of its trackers; as a context manager it closes them however the run ends."""

    def __init__(
        self, trackers: Iterable[Sink], meter: SystemMeter | None = None, run_dir: Path = Path()
    ) -> None:
        self.trackers, self.meter, self.run_dir = list(trackers), meter, run_dir

    def log(self, row: Mapping[str, Any], step: int) -> None:
        """Pass on one row, and one about the machine when it is due; a tracker that fails gets no more rows."""
        due = self.meter.due() if self.meter else None
        for tracker in list(self.trackers):
            with self._let_fail(tracker):
                tracker.log(row, step)
                if due:
                    tracker.log(due, step)

    def finish(self, status: str) -> None:
        """Close every tracker, once; a second call does nothing."""
        # Removed before it is closed, so that an error in closing one neither closes it twice nor leaves the others
        # open.
        while self.trackers:
            tracker = self.trackers.pop()
            with self._let_fail(tracker):
                tracker.finish(status)

    @contextmanager
    def _let_fail(self, tracker: Sink) -> Iterator[None]:
        """Report a tracker's error once and drop the tracker: training is worth more than a dashboard."""
        try:
            yield
        except Exception as error:
            if getattr(tracker, "required", False):
                raise
            if tracker in self.trackers:
                self.trackers.remove(tracker)
            print(down(type(tracker).__name__.removesuffix("Tracker").lower(), error, self.run_dir))

    def __enter__(self) -> Trackers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish("completed")
        else:
            self.finish("interrupted" if issubclass(kind, KeyboardInterrupt) else "failed")


def check_installed(package: str) -> None:
    """Refuse a tracker whose package is missing.

    Raises:
        UserError: with the command that installs it.
    """
    if find_spec(package) is None:
        raise UserError(f"tracker={package}: not installed; pip install {package}")


def down(name: str, error: Exception, run_dir: Path) -> str:
    """Return the line for a tracker that cannot be reached."""
    return (
        f"tracker={name}: {brief(error)}; the run continues, its metrics are kept in {run_dir / 'metrics.jsonl'}; "
        f"to send them later: unlearnctl track {run_dir}"
    )


def flatten(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers of a row, under the slashed names that dashboards group by.

    `{"kind": "train", "terms": {"forget": 1.}}` → `{"train/terms/forget": 1.}`; of a metric
    `{"value": .3, "stderr": .1}` only the value is kept: `{"eval/tinyworld/hazard_acc": .3}`.
    """
    body = {**row, **row.get("suites", {})}
    skipped = ("kind", "step", "suites")
    pairs = _numbers(str(row.get("kind", "run")), {k: v for k, v in body.items() if k not in skipped})
    return {name: value for name, value in pairs if math.isfinite(value)}


def _numbers(prefix: str, node: object) -> Iterator[tuple[str, float]]:
    if isinstance(node, Mapping):
        if "value" in node:
            yield from _numbers(prefix, node["value"])
            return
        for key, value in node.items():
            yield from _numbers(f"{prefix}/{key}", value)
    elif isinstance(node, (int, float)) and not isinstance(node, bool):
        yield prefix, float(node)
