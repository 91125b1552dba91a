"""From `conf/tracker/` to trackers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unlearnctl.errors import UserError, unknown
from unlearnctl.tracking.base import Tracker, Trackers
from unlearnctl.tracking.jsonl import JsonlTracker

NAMES = ("none", "tensorboard", "wandb")


def make_trackers(cfg: Mapping[str, Any], run_dir: Path, config: Mapping[str, Any]) -> Trackers:
    """The trackers that `cfg` (the `tracker` node) asks for, writing in `run_dir`.

    `config` is the whole config, for the dashboard. Of several processes only the first one writes.

    Raises:
        UserError: an unknown tracker or setting, or its package is missing.
    """
    settings = {key: value for key, value in cfg.items() if key != "name"}
    name = cfg.get("name") or "none"
    if name not in NAMES:
        raise unknown("tracker", name, NAMES)
    if int(os.environ.get("RANK", "0")) != 0:
        return Trackers([])
    extra = _extra(str(name), settings, run_dir, config)
    return Trackers([JsonlTracker(run_dir / "metrics.jsonl"), *extra])


def _extra(name: str, settings: dict[str, Any], run_dir: Path, config: Mapping[str, Any]) -> list[Tracker]:
    try:
        if name == "wandb":
            from unlearnctl.tracking.wandb import WandbTracker

            return [WandbTracker(run_dir, config, **settings)]
        if name == "tensorboard":
            from unlearnctl.tracking.tensorboard import TensorboardTracker

            return [TensorboardTracker(run_dir / settings.pop("folder", "tensorboard"), config, **settings)]
    except TypeError as error:  # a key that the tracker does not take
        raise UserError(f"tracker={name}: {error}") from error
    return []
