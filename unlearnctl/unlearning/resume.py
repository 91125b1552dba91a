"""`unlearnctl train resume=RUN_DIR`: go on with a run that was cut off, where its last training checkpoint is."""

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
from unlearnctl.results.schema import ENDED
from unlearnctl.runs.directory import keep_config, own_config
from unlearnctl.runs.layout import HARMLESS
from unlearnctl.runs.lock import locked
from unlearnctl.unlearning.checkpointer import CHANGEABLE, FOLDER
from unlearnctl.unlearning.train import train
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.safe_json import loads


def resume_from(cfg: DictConfig) -> Path | None:
    """The run that `cfg.resume` names, with its own config; of the command line `HARMLESS` and `CHANGEABLE` count.

    Raises:
        UserError: anything else was given; see `resume`.
    """
    return resume(Path(str(cfg.resume)), {key: OmegaConf.select(cfg, key) for key in _given()})


def resume(directory: Path, changes: Mapping[str, Any] | None = None) -> Path | None:
    """Go on with a run; one that has ended is left as it is. Returns its directory, or None for a dry run.

    Raises:
        UserError: no run of `train` is there, another process is at work in it, or what its checkpoint was made
            from has changed.
    """
    cfg = own_config(directory)
    check_keys("train", cfg)
    for key, value in (changes or {}).items():
        OmegaConf.update(cfg, key, value, merge=False)
    status = ended(directory)
    if status:
        _finish_report(directory)
        print(f"resume={directory}: that run has ended ({status}); nothing is left to do")
        print(f"run: {directory}")
        return directory
    if any(key in CHANGEABLE for key in changes or {}):
        with locked(directory):  # a run at work keeps its own
            keep_config(directory, cfg)
    cfg.resume = str(directory)
    return train(cfg, directory)


def can_resume(directory: Path) -> bool:
    """True if a run of `train` is there that has not come to its end; it may be at work."""
    try:
        own_config(directory)
    except UserError:
        return False
    return ended(directory) is None or (directory / FOLDER).exists()


def ended(directory: Path) -> str | None:
    """How a run ended; None if it was cut off or interrupted, so that something is left to do."""
    try:
        status = loads((directory / "results.json").read_text(encoding="utf-8"))["status"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return status if status in ENDED else None


def _finish_report(directory: Path) -> None:
    """The checkpoints go last: if they are there, the run was killed over its report."""
    if (directory / FOLDER).exists():
        with locked(directory):
            write_report(directory)
            shutil.rmtree(directory / FOLDER)


def _given() -> list[str]:
    """The keys on the command line that may differ: whole groups, or single ones."""
    if not HydraConfig.initialized():
        return []
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        raise UserError("resume: goes on with one run, so it does not go with -m")
    given = {}
    for override in hydra.overrides.task:
        key = override.lstrip("+~").partition("=")[0]
        if not is_flag(key):  # that code may run does not change it
            given[key if key in CHANGEABLE else key.partition(".")[0]] = override
    for key, override in given.items():
        if key not in ("resume", *HARMLESS, *CHANGEABLE):
            raise UserError(
                f"{override}: a run is resumed with its own config; beside resume=DIR only "
                f"{', '.join(f'{name}=' for name in (*HARMLESS, *CHANGEABLE))} may be given"
            )
    return [key for key in given if key != "resume"]
