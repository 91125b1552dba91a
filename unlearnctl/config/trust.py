"""Read from the command line which foreign code may run. Config files, run directories and sweeps cannot allow it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unlearnctl.utils.errors import UserError

PLUGINS = "plugins"
HYDRA = "hydra."
LAUNCHER = "hydra.launcher."
FLAGS = ("trust_remote_code", "trust_task_code")  # last part of a config key
VARIABLE = re.compile(r"\boc\.env\s*:\s*['\"]?(\w+)")
PACKAGE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class Trust:
    """What was typed: packages whose classes a config may name, flags, Hydra settings, environment variables."""

    plugins: tuple[str, ...] = ()
    flags: frozenset[str] = frozenset()
    environment: frozenset[str] = frozenset()  # variables that were typed as ${oc.env:NAME}


_typed = Trust()  # for this process and those it starts


def allow(trust: Trust) -> None:
    """From now on, allow this process what `trust` says and nothing else."""
    global _typed
    _typed = trust


def trusted() -> Trust:
    """Return what this process may do."""
    return _typed


def read_trust(arguments: Sequence[str]) -> Trust:
    """Take `plugins=[a,b]` and `….trust_remote_code=true` from a command line.

    Raises:
        UserError: a plugin is not a package name, or is part of Python itself.
    """
    plugins: list[str] = []
    flags = set()
    for key, value in _pairs(arguments):
        if key == PLUGINS:
            plugins = [name.strip(" '\"") for name in value.strip(" []").split(",") if name.strip()]
        elif key.startswith(HYDRA) or (
            is_flag(key) and value.strip().lower() in ("true", "yes", "on")  # as Hydra reads a boolean
        ):
            flags.add(key)
    for name in plugins:
        if not PACKAGE.fullmatch(name):
            raise UserError(f"plugins={name}: must be names of Python packages, as in plugins=[my_package]")
        if name.partition(".")[0] in sys.stdlib_module_names:
            raise UserError(f"plugins={name}: part of Python itself; name a package of your own")
    return Trust(tuple(plugins), frozenset(flags), frozenset(VARIABLE.findall(" ".join(arguments))))


def is_flag(key: str) -> bool:
    """Tell whether a config key allows code to run."""
    return key.rpartition(".")[2] in FLAGS


def without_trust(arguments: Sequence[str]) -> list[str]:
    """Leave out overrides that allow code: they were read from a file, and must be typed again."""
    return [a for a in arguments if not any(k == PLUGINS or is_flag(k) for k, _ in _pairs([a]))]


def _pairs(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if equals:
            yield key.lstrip("+~"), value
