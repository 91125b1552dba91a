"""Compose the configs of a training command without running it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from unlearnctl.utils.paths import conf_dir


def composed(overrides: Sequence[str], folders: Sequence[str] = ()) -> list[DictConfig]:
    """Compose the config of `unlearnctl train OVERRIDES`, or one for each member of a sweep."""
    extra = (
        [f"hydra.searchpath=[{','.join(f'file://{Path(f).resolve()}' for f in folders)}]"] if folders else []
    )
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        fixed = [
            each
            for each in overrides
            if not OverridesParser.create().parse_override(each).is_sweep_override()
        ]
        params = compose("train", [*extra, *fixed], return_hydra_config=True).hydra.sweeper.params or {}
        parsed = OverridesParser.create().parse_overrides(
            [*(f"{k}={v}" for k, v in params.items()), *overrides]
        )
        return [compose("train", [*extra, *each]) for each in BasicSweeper.split_arguments(parsed, None)[0]]
