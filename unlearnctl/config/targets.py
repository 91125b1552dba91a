"""Check which classes a config names, over the whole config and before anything is made from it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from unlearnctl.config.environment import guard_environment, refusal
from unlearnctl.config.hydra_settings import MADE, TYPED, check_folders, check_hydra
from unlearnctl.config.lines import line_of, shown_value
from unlearnctl.config.trust import is_flag, trusted
from unlearnctl.utils.errors import UserError

GROUPS = {  # where a config may name a class, and the packages the class may come from
    "objective": ("unlearnctl.objectives",),
    "eval": ("unlearnctl.evaluation",),
    "attack": ("unlearnctl.attacks",),
    "repair": ("unlearnctl.repair",),
    "tracker": ("unlearnctl.tracking",),
    "trainer.optimizer": ("torch.optim", "unlearnctl.training.adamw"),
    "hydra": (
        "hydra_plugins",
        "hydra._internal.core_plugins",
        "optuna.samplers",
    ),
}
METHODS = {  # a method that each of them must have
    "objective": "forward", "eval": "validate", "attack": "variants", "repair": "__call__",
    "tracker": "start",
    "trainer.optimizer": "zero_grad", "hydra": "__init__",
}  # fmt: skip
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
TARGET = "_target_"


def check_config(cfg: DictConfig, files: Sequence[Path] = ()) -> None:
    """Refuse what would run code that the command line did not allow. Nothing but Hydra's own plugins is imported.

    Args:
        cfg: a whole config, `hydra` included or not.
        files: YAML files and folders it may come from, for the message.

    Raises:
        UserError: a file names a foreign class, a plugin, a flag or an environment variable; with key, value, file
            and line.
    """
    guard_environment()
    check_folders(cfg, files)
    # Without this, ${hydra:…} would give the value of the config that is composed around this one.
    with mock.patch.object(HydraConfig.instance(), "cfg", None):
        leaves = list(_leaves(cfg, ""))
    for key, value in leaves:
        leaf = key.rpartition(".")[2]
        if isinstance(value, _Unresolved):
            _check_unresolved(key, leaf, value, files)
        elif leaf == TARGET:
            _check_target(key, value, files)
        elif is_flag(key) and value is True and key not in trusted().flags:
            raise UserError(f"{key}={shown_value(value)}: {TYPED}{line_of(files, leaf, value)}")
        elif leaf in ("_args_", "_partial_", "_recursive_", "_convert_") and not key.startswith("hydra."):
            raise UserError(f"{key}={value}: not a key of ours{line_of(files, leaf, value)}")
        elif key.startswith("hydra."):
            check_hydra(key, leaf, value, files)
    if extra := [name for name in cfg.get("plugins") or [] if name not in trusted().plugins]:
        raise UserError(f"plugins={extra[0]}: {TYPED}{line_of(files, 'plugins', extra[0])}")


@dataclass(frozen=True)
class _Unresolved:
    raw: object
    error: OmegaConfBaseException


def _check_unresolved(key: str, leaf: str, value: _Unresolved, files: Sequence[Path]) -> None:
    """Refuse environment variables, and anything Hydra might resolve later when it makes loggers and plugins."""
    if told := refusal(value.error):
        raise UserError(f"{told}{line_of(files, leaf, value.raw)}")
    if leaf == TARGET or is_flag(key) or f"{key}.".startswith(MADE):
        raise UserError(f"{key}={value.raw}: must be written out{line_of(files, leaf, value.raw)}")


def _leaves(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield every value with its key; leave out missing ones, and yield `_Unresolved` if a value cannot be resolved."""
    inside: Any = []
    if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
        inside = list(node.keys())
    elif isinstance(node, ListConfig) and not node._is_none() and not node._is_missing():
        inside = range(len(node))
    for name in inside:
        path = f"{key}.{name}" if key else str(name)
        try:
            value = node[name]
        except MissingMandatoryValue:
            continue
        except OmegaConfBaseException as error:
            yield path, _Unresolved(node._get_node(name)._value(), error)
            continue
        if isinstance(value, dict | list):  # oc.decode makes these from a text
            value = OmegaConf.create(value)
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
    if group.startswith("hydra."):  # Hydra makes these before we see the config
        find_class(key, value)


def _group(node: str) -> str | None:
    return next((name for name in GROUPS if node == name or node.startswith(f"{name}.")), None)


def packages_for(node: str) -> tuple[str, ...]:
    """Return the packages whose classes a config node may name; none if nothing is made from the node."""
    group = _group(node)
    if group is None:
        return ()
    return GROUPS[group] if group == "hydra" else (*GROUPS[group], *trusted().plugins)


def _only(allowed: Sequence[str]) -> str:
    own = ", ".join(f"{name}.*" for name in allowed)
    plugins = "" if "hydra_plugins" in allowed else ", and packages given as plugins=[...]"
    return f"not a class that a config may name. Allowed: {own}{plugins}"


def find_class(key: str, name: object) -> type:
    """Return the class of that name, which must be defined in a package that its key may name.

    Raises:
        UserError: there is none, it is of the wrong kind, or its module only imports it.
    """
    node = key.removesuffix(TARGET).rstrip(".")
    group, allowed = _group(node), packages_for(node)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise UserError(f"{key}={name}: no such class")
    if group is None or not _inside(name, allowed):
        raise UserError(f"{key}={name}: {_only(allowed)}")
    module, _, attribute = name.rpartition(".")
    try:  # a module and a name in it; walking attributes would reach everything a module imports
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
