"""Say that a run's settings are untuned, and what to type."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from unlearnctl.config.tiny_world import SCHEME
from unlearnctl.runs.inherit import of_model, typed

NOT_MINE = (
    "run=",
    "name=",
    "output_dir=",
    "launch",
    "recipe=",
    "-",
    "~",
)  # arguments that a search does not take over
SETTINGS = ("objective.", "trainer.")


def hint(cfg: DictConfig) -> str | None:
    """Return one line for a run with the bare defaults of its objective; None if anyone has set anything.

    The tiny world is left out: its defaults are tried. So are sweeps and experiments, which bring their own settings.
    """
    if not HydraConfig.initialized() or HydraConfig.get().mode == RunMode.MULTIRUN or cfg.get("resume"):
        return None
    choices = HydraConfig.get().runtime.choices
    set_by_hand = any(
        key.startswith(SETTINGS) for group in ("objective", "trainer") for key in typed(group)[1]
    )
    if set_by_hand or choices.get("experiment") or str(cfg.model.path).startswith(SCHEME):
        return None
    if (recipe := choices.get("recipe")) and _is_there(f"recipe/{recipe}.yaml"):
        return None
    said = f"untuned: {cfg.objective.name} has only its defaults on {cfg.model.name}, which may do nothing or too much"
    if not _is_there(f"search/{choices.get('objective')}.yaml"):
        return f"{said}; unlearnctl tune finds settings, with a tune.space of yours"
    return f"{said}; to find settings: {_command(cfg)}"


def _is_there(file: str) -> bool:
    """Tell whether a config file exists, in the package or in a folder of the user's."""
    sources = HydraConfig.get().runtime.config_sources
    return any(source.schema == "file" and (Path(source.path) / file).is_file() for source in sources)


def _command(cfg: DictConfig) -> str:
    kept = [arg for arg in sys.argv[1:] if not arg.startswith(NOT_MINE)]
    command = shlex.join(["unlearnctl", "tune", *kept])
    if of_model(cfg.model, "validation"):
        return command
    # Which items are for choosing, only the user knows.
    suite = next(iter(cfg.get("eval") or {}), "SUITE")
    return f"{command} 'select={{{suite}: {{...}}}}', where ... makes {suite} ask validation items"
