"""Configs are data: which classes one may name, checked over the whole config before anything is made from it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unlearnctl.errors import UserError
from unlearnctl.paths import shown
from unlearnctl.trust import LAUNCHER, is_flag, trusted

GROUPS = {  # where a config may name a class, and the packages that the class may be of
    "objective": ("unlearnctl.objectives",),
    "eval": ("unlearnctl.evaluation",),
    "attack": ("unlearnctl.attacks",),
    "repair": ("unlearnctl.repair",),
    "trainer.optimizer": ("torch.optim", "unlearnctl.training.adamw"),
    "hydra": (
        "unlearnctl.sweeps.collect",
        "hydra_plugins",
        "hydra._internal.core_plugins",
        "optuna.samplers",
    ),
}
METHODS = {  # what each of them must have
    "objective": "forward", "eval": "validate", "attack": "variants", "repair": "__call__",
    "trainer.optimizer": "zero_grad", "hydra": "__init__",
}  # fmt: skip
SHELL = (  # settings of launchers that become commands, or environments in which commands run
    "setup", "setup_commands", "initialization_commands", "srun_args", "additional_parameters", "python", "runtime_env",
)  # fmt: skip
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
TARGET = "_target_"
LOGGERS = ("logging", "colorlog")
TYPED = "counts on the command line alone, for it lets code run"


def check_config(cfg: DictConfig, files: Sequence[Path] = ()) -> None:
    """Refuse what would run code that the command line did not allow. Imports nothing but Hydra's own plugins.

    Args:
        cfg: a whole config, `hydra` included or not.
        files: YAML files and folders that it may be from, for the message.

    Raises:
        UserError: a class from elsewhere, a plugin or a flag that stands in a file; names key, value, file and line.
    """
    for key, value in _leaves(cfg, ""):
        leaf = key.rpartition(".")[2]
        if leaf == TARGET:
            _check_target(key, value, files)
        elif is_flag(key) and value is True and key not in trusted().flags:
            raise UserError(f"{key}={_shown(value)}: {TYPED}{line_of(files, leaf, value)}")
        elif leaf in ("_args_", "_partial_", "_recursive_", "_convert_") and not key.startswith("hydra."):
            raise UserError(f"{key}={value}: not a key of ours{line_of(files, leaf, value)}")
        elif key.startswith("hydra."):
            _check_hydra(key, leaf, value, files)
    if extra := [name for name in cfg.get("plugins") or [] if name not in trusted().plugins]:
        raise UserError(f"plugins={extra[0]}: {TYPED}{line_of(files, 'plugins', extra[0])}")


def _leaves(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Every value with its key; what cannot be resolved (or holds itself) cannot be used either."""
    inside: Any = []
    if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
        inside = list(node.keys())
    elif isinstance(node, ListConfig) and not node._is_none() and not node._is_missing():
        inside = range(len(node))
    for name in inside:
        try:
            value = node[name]
        except OmegaConfBaseException:
            continue
        path = f"{key}.{name}" if key else str(name)
        if OmegaConf.is_config(value):
            yield from _leaves(value, path)
        else:
            yield path, value


def _check_target(key: str, value: object, files: Sequence[Path]) -> None:
    group = key.removesuffix(TARGET).rstrip(".")
    allowed = packages_for(group)
    if not allowed:
        raise UserError(
            f"{key}={value}: nothing is made from {group or 'this'}{line_of(files, TARGET, value)}"
        )
    if not isinstance(value, str) or not NAME.fullmatch(value) or not _inside(value, allowed):
        raise UserError(f"{key}={value}: {_only(allowed)}{line_of(files, TARGET, value)}")
    if group.startswith("hydra."):  # Hydra makes these before we see them
        find_class(key, value)


def _group(node: str) -> str | None:
    return next((name for name in GROUPS if node == name or node.startswith(f"{name}.")), None)


def packages_for(node: str) -> tuple[str, ...]:
    """Packages whose classes a config node may name; none where nothing is made from it."""
    group = _group(node)
    if group is None:
        return ()
    return GROUPS[group] if group == "hydra" else (*GROUPS[group], *trusted().plugins)


def _only(allowed: Sequence[str]) -> str:
    own = ", ".join(f"{name}.*" for name in allowed)
    plugins = "" if "hydra_plugins" in allowed else ", and packages given as plugins=[...]"
    return f"not a class that a config may name. Allowed: {own}{plugins}"


def find_class(key: str, name: object) -> type:
    """The class of that name, which must be defined in a package that its key may name.

    Raises:
        UserError: there is none, it is of another kind, or it only came by import from elsewhere.
    """
    node = key.removesuffix(TARGET).rstrip(".")
    group, allowed = _group(node), packages_for(node)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise UserError(f"{key}={name}: no such class")
    if group is None or not _inside(name, allowed):
        raise UserError(f"{key}={name}: {_only(allowed)}")
    module, _, attribute = name.rpartition(".")
    try:  # a module and a name in it: no walk over attributes, which would reach all that a module imports
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{key}={name}: no such class") from error
    ours = (*allowed, "hydra" if group == "hydra" else "unlearnctl")
    if not inspect.isclass(found) or not _inside(f"{found.__module__}.", ours):
        raise UserError(f"{key}={name}: no such class")
    if not any(METHODS[group] in vars(each) for each in found.__mro__):
        raise UserError(f"{key}={name}: not of the kind that {group} takes; it has no {METHODS[group]}")
    return found


def _inside(name: str, packages: Sequence[str]) -> bool:
    return any(name.startswith(f"{package}.") for package in packages)


def _check_hydra(key: str, leaf: str, value: object, files: Sequence[Path]) -> None:
    """Logging factories, environment variables and what launchers give to a shell are ways to run code too."""
    shell = next((part for part in key.split(".") if part in SHELL), None)
    if shell and key.startswith(LAUNCHER) and value is not None:
        typed = (flag for flag in trusted().flags if flag.startswith(LAUNCHER))
        if not any(f"{key}.".startswith(f"{flag}.") for flag in typed):
            raise UserError(
                f"{key}={value}: {TYPED}{line_of(files, leaf if leaf.isidentifier() else shell, value)}"
            )
    if key.startswith(("hydra.job_logging.", "hydra.hydra_logging.")):
        foreign = leaf == "()" or (isinstance(value, str) and "ext://" in value.replace("ext://sys.std", ""))
        foreign = foreign or (leaf == "class" and not _inside(str(value), LOGGERS))
        if foreign:
            raise UserError(f"{key}={value}: may name classes of logging alone{line_of(files, leaf, value)}")
    if key.startswith("hydra.job.env_set."):
        raise UserError(f"{key}: set environment variables in the shell{line_of(files, leaf, value)}")


def _shown(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def line_of(files: Sequence[Path], leaf: str, value: object) -> str:
    """` (FILE:LINE)` of the first line that has key and value; empty if it stands in none, but was typed."""
    wanted = re.compile(
        rf"(^|[\s{{,]){re.escape(leaf)}['\"]?\s*:[\s'\"\[]*{re.escape(str(_shown(value)))}(?![\w.])",
        re.IGNORECASE,
    )
    for place in files:
        for file in sorted(place.rglob("*.yaml")) if place.is_dir() else [place]:
            try:
                lines = file.read_text(encoding="utf-8").splitlines()
            except (OSError, ValueError):
                continue
            for number, line in enumerate(lines, 1):
                if wanted.search(line):
                    return f" ({shown(file)}:{number})"
    return ""
