"""From `conf/tracker/` to trackers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unlearnctl.tracking.base import Tracker, Trackers, down
from unlearnctl.tracking.jsonl import JsonlTracker
from unlearnctl.tracking.system import SystemMeter
from unlearnctl.utils.errors import UserError, unknown

NAMES = ("none", "tensorboard", "trackio", "wandb")


def make_trackers(
    cfg: Mapping[str, Any], run_dir: Path, config: Mapping[str, Any], after: int | None = None
) -> Trackers:
    """The trackers that `cfg` (the `tracker` node) asks for, writing in `run_dir`.

    `config` is the whole config, for the dashboard; `after` the step after which a resumed run goes on.
    Of several processes only the first one writes.

    Raises:
        UserError: an unknown tracker or setting, or its package is missing.
    """
    settings = {key: value for key, value in cfg.items() if key != "name"}
    name = cfg.get("name") or "none"
    if name not in NAMES:
        raise unknown("tracker", name, NAMES)
    if int(os.environ.get("RANK", "0")) != 0:
        return Trackers([])
    every = settings.pop("system_every", None)
    if every is not None and (not isinstance(every, int | float) or isinstance(every, bool) or every <= 0):
        raise UserError(f"tracker.system_every={every}: must be a positive number of seconds, or null")
    meter = SystemMeter(every) if every else None
    own = JsonlTracker(run_dir / "metrics.jsonl")
    try:
        return Trackers([own, *chosen(str(name), settings, run_dir, config, after)], meter, run_dir)
    except UserError:
        raise
    except Exception as error:  # no server, no disk: the run does without
        print(down(str(name), error, run_dir))
        return Trackers([own], meter, run_dir)


def chosen(
    name: str, settings: dict[str, Any], run_dir: Path, config: Mapping[str, Any], after: int | None = None
) -> list[Tracker]:
    """The tracker of that name, beside metrics.jsonl; none for `none`.

    Raises:
        UserError: its package is missing, or a setting is unknown.
        Exception: whatever the tracker raises where it cannot be reached.
    """
    try:
        if name == "wandb":
            from unlearnctl.tracking.wandb import WandbTracker

            return [WandbTracker(run_dir, config, **settings)]
        if name == "trackio":
            from unlearnctl.tracking.trackio import TrackioTracker

            return [TrackioTracker(run_dir, config, **settings)]
        if name == "tensorboard":
            from unlearnctl.tracking.tensorboard import TensorboardTracker

            folder = run_dir / settings.pop("folder", "tensorboard")
            return [TensorboardTracker(folder, config, after=after, **settings)]
    except TypeError as error:  # a key that the tracker does not take
        raise UserError(f"tracker={name}: {error}") from error
    return []
