"""Make the tracker that a config's `tracker` node names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import PositiveFloat

from unlearnctl.config.instantiate import build
from unlearnctl.config.targets import TARGET
from unlearnctl.tracking import TrackedRun, Tracker, Trackers
from unlearnctl.tracking.base import down
from unlearnctl.tracking.jsonl import JsonlTracker
from unlearnctl.tracking.system import SystemMeter
from unlearnctl.utils.errors import UserError, unknown, unknown_key
from unlearnctl.utils.paths import conf_dir
from unlearnctl.utils.validate import check_value

OURS = ("name", "system_every")  # keys of the node that are not the tracker's own


def build_tracker(node: Mapping[str, Any]) -> Tracker | None:
    """Make the tracker of a `tracker` node; None where metrics.jsonl is all that is asked for.

    Nothing is written or sent yet, so this also serves as the check before a run begins.

    Raises:
        UserError: an unknown tracker or setting, a value out of range, or a package that is not installed.
    """
    _meter_interval(node)
    settings = {key: value for key, value in node.items() if key not in OURS}
    name = node.get("name") or "none"
    # The config of a run from before trackers named their class.
    if TARGET not in settings and name != "none":
        settings[TARGET] = shipped(str(name))[TARGET]
    if TARGET in settings:
        tracker: Tracker = build("tracker", settings)
        return tracker
    for key in settings:
        raise unknown_key("tracker", key, OURS)
    return None


def shipped(name: str) -> dict[str, Any]:
    """Read `conf/tracker/NAME.yaml`.

    Raises:
        UserError: there is none.
    """
    files = {file.stem: file for file in (conf_dir() / "tracker").glob("*.yaml")}
    if name not in files:
        raise unknown("tracker", name, files)
    node: dict[str, Any] = yaml.safe_load(files[name].read_text(encoding="utf-8"))
    return node


def make_trackers(
    node: Mapping[str, Any], run_dir: Path, config: Mapping[str, Any], after: int | None = None
) -> Trackers:
    """Start the trackers of a run in `run_dir`: metrics.jsonl, and the one that `node` names.

    Of several processes only the first one writes.

    Args:
        node: `tracker` of the config.
        run_dir: the run's directory.
        config: the whole config, for the dashboard.
        after: the step from which a resumed run continues.

    Raises:
        UserError: see `build_tracker`; or the tracker refuses its settings.
    """
    tracker = build_tracker(node)
    if int(os.environ.get("RANK", "0")) != 0:
        return Trackers([])
    every = _meter_interval(node)
    meter = SystemMeter(every) if every else None
    own = JsonlTracker(run_dir / "metrics.jsonl")
    if tracker is None:
        return Trackers([own], meter, run_dir)
    try:
        tracker.start(TrackedRun(run_dir, config, after))
    except UserError:
        raise
    except Exception as error:  # no server, no disk: the run does without
        print(down(str(node.get("name") or type(tracker).__name__.lower()), error, run_dir))
        return Trackers([own], meter, run_dir)
    return Trackers([own, tracker], meter, run_dir)


def _meter_interval(node: Mapping[str, Any]) -> float | None:
    every = node.get("system_every")
    check_value("tracker.system_every", every, Annotated[PositiveFloat, "seconds"] | None)
    return every
