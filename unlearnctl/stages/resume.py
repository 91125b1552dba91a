"""`unlearnctl train resume=RUN_DIR`: go on with a run that was cut off, where its last training checkpoint is."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import AliasEvent, YAMLError, parse
from yaml.cyaml import CSafeLoader

from unlearnctl.errors import UserError
from unlearnctl.reporting.report import write_report
from unlearnctl.stages.saver import FOLDER
from unlearnctl.stages.train import train
from unlearnctl.untrusted import loads

HARMLESS = ("launch", "tracker")  # groups that change no number
ENDED = ("completed", "stopped_early")


def resume_from(cfg: DictConfig) -> Path | None:
    """The run that `cfg.resume` names, with its own config; of the command line only `HARMLESS` groups count.

    Raises:
        UserError: anything else was given; see `resume`.
    """
    return resume(Path(str(cfg.resume)), {key: cfg[key] for key in _given()})


def resume(directory: Path, changes: Mapping[str, Any] | None = None) -> Path | None:
    """Go on with a run; one that has ended is left as it is. Returns its directory, or None for a dry run.

    Raises:
        UserError: no run of `train` is there, another process is at work in it, or what its checkpoint was made
            from has changed.
    """
    cfg = own_config(directory)
    for key, value in (changes or {}).items():
        cfg[key] = value
    status = ended(directory)
    if status:
        _finish_report(directory)
        print(f"resume={directory}: that run has ended ({status}); nothing is left to do")
        print(f"run: {directory}")
        return directory
    cfg.resume = str(directory)
    return train(cfg, directory)


def can_resume(directory: Path) -> bool:
    """True if a run of `train` is there that has not come to its end; it may be at work."""
    try:
        own_config(directory)
    except UserError:
        return False
    return ended(directory) is None or (directory / FOLDER).exists()


def own_config(directory: Path) -> DictConfig:
    """The resolved config of a run of `train`.

    Raises:
        UserError: there is none.
    """
    path = directory / "config.yaml"
    try:
        if any(
            isinstance(event, AliasEvent) for event in parse(path.read_text(encoding="utf-8"), CSafeLoader)
        ):
            raise UserError(
                f"resume={directory}: config.yaml holds aliases, which no run writes"
            )  # and which may grow
        cfg = OmegaConf.load(path)
    except FileNotFoundError:
        raise UserError(f"resume={directory}: no run directory there (config.yaml is missing)") from None
    except (OSError, ValueError, RecursionError, YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"resume={directory}: config.yaml cannot be read ({type(error).__name__})") from error
    if not isinstance(cfg, DictConfig) or not {"model", "data", "objective", "trainer"} <= set(cfg):
        raise UserError(f"resume={directory}: not a run of `unlearnctl train`")
    return cfg


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
        write_report(directory)
        shutil.rmtree(directory / FOLDER)


def _given() -> list[str]:
    """The harmless groups that the command line names."""
    if not HydraConfig.initialized():
        return []
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        raise UserError("resume: goes on with one run, so it does not go with -m")
    groups = {}
    for override in hydra.overrides.task:
        key = override.lstrip("+~").partition("=")[0]
        groups[key.partition(".")[0]] = override
    for group, override in groups.items():
        if group not in ("resume", *HARMLESS):
            raise UserError(
                f"{override}: a run is resumed with its own config; beside resume=DIR only "
                f"{' and '.join(f'{name}=' for name in HARMLESS)} may be given"
            )
    return [group for group in groups if group in HARMLESS]
