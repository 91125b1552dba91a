"""Find out what `train resume=RUN_DIR` is to do: with which config, and whether anything is left to be done."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from unlearnctl.config.composed import check_keys
from unlearnctl.config.trust import is_flag
from unlearnctl.reporting.reports import write_report
from unlearnctl.results.schema import ENDED, read_ending
from unlearnctl.runs.directory import keep_config, own_config
from unlearnctl.runs.layout import HARMLESS
from unlearnctl.runs.lock import locked
from unlearnctl.unlearning.checkpointer import CHANGEABLE, FOLDER, RATES
from unlearnctl.utils.errors import UserError


def config_to_resume(directory: Path, changes: Mapping[str, Any] | None = None) -> DictConfig | None:
    """Return the config to train a run with once more; None if it has ended, and nothing is left to do.

    Args:
        directory: of the run.
        changes: keys to be set; see `given_changes`.

    Raises:
        UserError: no run of `train` is there, or another process is at work in it.
    """
    cfg = own_config(directory)
    check_keys("train", cfg)
    changes = changes or {}
    for key in RATES if changes.keys() & set(RATES) else ():
        if OmegaConf.select(cfg, key) is not None:  # a new rate replaces the old one, in whichever unit
            OmegaConf.update(cfg, key, None)
    for key, value in changes.items():
        OmegaConf.update(cfg, key, value, merge=False)
    status = ended(directory)
    if status:
        _finish_report(directory)
        print(f"resume={directory}: that run has ended ({status}); nothing is left to do")
        print(f"run: {directory}")
        return None
    if any(key in CHANGEABLE for key in changes):
        with locked(directory):  # a run at work keeps its own
            keep_config(directory, cfg)
    cfg.resume = str(directory)
    return cfg


def can_resume(directory: Path) -> bool:
    """Tell whether a run of `train` is there that has not ended; it may still be running."""
    try:
        own_config(directory)
    except UserError:
        return False
    return ended(directory) is None or (directory / FOLDER).exists()


def ended(directory: Path) -> str | None:
    """Return how a run ended; None if it was cut off or interrupted, and can be resumed."""
    status, _ = read_ending(directory)
    return status if status in ENDED else None


def _finish_report(directory: Path) -> None:
    """Write the report if the run was killed before it could: its checkpoints, removed last, are still there."""
    if (directory / FOLDER).exists():
        with locked(directory):
            write_report(directory)
            shutil.rmtree(directory / FOLDER)


def given_changes(cfg: DictConfig) -> dict[str, Any]:
    """Return what the command line changes in a run that is resumed: groups of `HARMLESS`, keys of `CHANGEABLE`.

    Raises:
        UserError: anything else was given.
    """
    if not HydraConfig.initialized():
        return {}
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        raise UserError("resume: resumes a single run, so it cannot be combined with -m")
    given = {}
    for override in hydra.overrides.task:
        key = override.lstrip("+~").partition("=")[0]
        if not is_flag(key):  # what code is trusted does not change the run
            given[key if key in CHANGEABLE else key.partition(".")[0]] = override
    for key, override in given.items():
        if key not in ("resume", *HARMLESS, *CHANGEABLE):
            raise UserError(
                f"{override}: a run is resumed with its own config; beside resume=DIR only "
                f"{', '.join(f'{name}=' for name in (*HARMLESS, *CHANGEABLE))} may be given"
            )
    return {key: OmegaConf.select(cfg, key) for key in given if key != "resume"}
