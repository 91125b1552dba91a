"""Refuse Hydra settings in files if they would run code, write files or set the environment."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from unlearnctl.config.lines import line_of
from unlearnctl.config.trust import LAUNCHER, trusted
from unlearnctl.utils.errors import UserError

SHELL = (  # launcher settings that become commands, or environments in which commands run
    "setup", "setup_commands", "initialization_commands", "srun_args", "additional_parameters", "python", "runtime_env",
)  # fmt: skip
TYPED = "must be typed on the command line, because it lets code run"
LOGGING = ("hydra.job_logging.", "hydra.hydra_logging.")
MADE = (  # Hydra makes objects from these, and resolves them again
    *LOGGING, "hydra.callbacks.", "hydra.launcher.", "hydra.sweeper.", "hydra.job.env_set.",
)  # fmt: skip
CLASSES = {
    "formatters": ("logging.Formatter",), "handlers": ("logging.StreamHandler", "logging.NullHandler"),
}  # fmt: skip
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
SETTINGS = re.compile(  # logging settings that name no file and make no object
    r"version|incremental|disable_existing_loggers|root"
    r"|(root|loggers\.[^.]+(\.[^.]+)*)\.(level|propagate|handlers|handlers\.\d+)"
    r"|formatters|formatters\.\w+(\.(class|format|datefmt|style|validate))?"
    r"|handlers|handlers\.\w+(\.(class|level|formatter|stream))?|loggers|loggers\.[^.]+"
)
WRITES = {  # where Hydra writes or changes to: the values of our configs and of its own
    "hydra.run.dir": (".",), "hydra.output_subdir": (None,), "hydra.job.chdir": (False, None),
    "hydra.sweep.subdir": (".", "${hydra.job.num}"),
}  # fmt: skip
SWEEP = re.compile(
    r"\$\{output_dir\}/(\w+|\$\{hydra\.job\.config_name\})/sweep/\$\{run\}"
    r"|multirun/\$\{now:%Y-%m-%d\}/\$\{now:%H-%M-%S\}"
)


def check_hydra(key: str, leaf: str, value: object, files: Sequence[Path]) -> None:
    """Refuse a setting below `hydra` that was not typed, or that is never allowed.

    Raises:
        UserError: names key, value, file and line.
    """
    shell = next((part for part in key.split(".") if part in SHELL), None)
    if shell and key.startswith(LAUNCHER) and value is not None and not _typed(key):
        raise UserError(
            f"{key}={value}: {TYPED}{line_of(files, leaf if leaf.isidentifier() else shell, value)}"
        )
    if key.startswith(LOGGING):
        _check_logging(key, leaf, value, files)
    if key.startswith("hydra.job.env_set."):
        raise UserError(f"{key}: set environment variables in the shell{line_of(files, leaf, value)}")


def check_folders(cfg: DictConfig, files: Sequence[Path]) -> None:
    """Refuse a file that makes Hydra write outside `output_dir`.

    Raises:
        UserError: names key, value, file and line.
    """
    for key in (*WRITES, "hydra.sweep.dir"):
        above, _, leaf = key.rpartition(".")
        node = OmegaConf.select(cfg, above)
        if node is None or leaf not in node:
            continue
        value = node._get_node(leaf)._value()
        usual = SWEEP.fullmatch(str(value)) if leaf == "dir" and key not in WRITES else value in WRITES[key]
        if not usual and not _typed(key):
            raise UserError(
                f"{key}={value}: must be typed on the command line, because files are written there; "
                f"in a config set output_dir"
                f"{line_of(files, leaf, value)}"
            )


def _typed(key: str) -> bool:
    return any(f"{key}.".startswith(f"{flag}.") for flag in trusted().flags)


def _check_logging(key: str, leaf: str, value: object, files: Sequence[Path]) -> None:
    """Refuse logging settings that could make any object, set its attributes, or write to any file."""
    wrong = _wrong_logging(key, leaf, value)
    if wrong:  # only then, because finding the line reads every file
        raise UserError(f"{key}={value}: {wrong}{line_of(files, leaf, value)}")


def _wrong_logging(key: str, leaf: str, value: object) -> str | None:
    path = key.partition(".")[2].partition(".")[2]
    text = value if isinstance(value, str) else ""
    if leaf == "()" or ("://" in text and leaf != "format" and text not in STREAMS):
        return "may only name classes of logging"
    allowed = CLASSES.get(path.partition(".")[0], ())
    if leaf == "class" and value not in allowed:
        return f"must be {' or '.join(allowed)}"
    if not SETTINGS.fullmatch(path) or (leaf == "stream" and value not in STREAMS):
        return "not a logging setting that a config may contain"
    return None
