"""Send the metrics of runs to their tracker, where it was down while they ran.

usage: unlearnctl track RUN [RUN ...] [tracker=NAME] [plugins=[PACKAGE]]

Every run keeps its rows in metrics.jsonl; a tracker that fails is reported in one line, and the run continues
without it. The rows go to the tracker of the run's config, or to another, as a run of their own.

examples:
  unlearnctl track outputs/train/NAME/RUN
  unlearnctl track outputs/train/NAME/RUN tracker=tensorboard
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from unlearnctl.config.instantiate import plain
from unlearnctl.config.trackers import build_tracker, shipped
from unlearnctl.config.trust import allow, read_trust
from unlearnctl.results.history import read_history
from unlearnctl.results.run import load_run
from unlearnctl.runs.directory import own_config
from unlearnctl.runs.live import at_work
from unlearnctl.tracking import TrackedRun
from unlearnctl.utils.errors import UserError, brief


def track(args: list[str]) -> None:
    """Send the metrics of run directories; `tracker=NAME` takes another tracker than a run's config names.

    Raises:
        UserError: no argument, no finished run, no tracker, or one that still cannot be reached.
    """
    allow(read_trust(args))
    names = [arg.partition("=")[2] for arg in args if arg.startswith("tracker=")]
    folders = [Path(arg) for arg in args if not arg.startswith(("tracker=", "plugins="))]
    if not folders:
        raise UserError("track: give a run directory, e.g. unlearnctl track outputs/train/NAME/RUN")
    for folder in folders:
        count = send(folder, own_config(folder, "track"), names[-1] if names else None)
        print(f"{folder}: {count} rows sent")


def send(folder: Path, cfg: DictConfig, name: str | None) -> int:
    """Log every row of metrics.jsonl, as a run of its own on the dashboard; returns how many.

    Raises:
        UserError: see `track`.
    """
    node = shipped(name) if name else plain(cfg.tracker)
    tracker = build_tracker(node)
    if tracker is None:
        raise UserError(f"track {folder}: its config has tracker=none; name one, e.g. tracker=tensorboard")
    if who := at_work(folder):
        raise UserError(f"track {folder}: {who} is at work in it; its metrics can be sent when it has ended")
    status = str(load_run(folder, history=False).results["status"])
    rows = _rows(folder)
    try:
        tracker.start(TrackedRun(folder, plain(cfg)))
        for row in rows:
            tracker.log(row, row["step"])
        tracker.finish(status)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"tracker={node.get('name')}: {brief(error)}") from error
    return len(rows)


def _rows(folder: Path) -> list[dict[str, Any]]:
    """Read metrics.jsonl. A resumed run repeats steps, and the later row is the one that counts."""
    rows = read_history(folder / "metrics.jsonl").rows
    return list({(str(row.get("kind")), row["step"]): row for row in rows}.values())
