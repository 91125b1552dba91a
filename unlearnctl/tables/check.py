"""Values of a table config, refused by their key when they are of the wrong kind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from unlearnctl.utils.errors import UserError, brief
from unlearnctl.utils.numbers import finite

WORDS = {str: "text", dict: "a mapping", list: "a list", int: "a whole number", float: "a number"}
MOST_DECIMALS = 15


def load(path: Path, key: str) -> dict[str, Any]:
    """A YAML file that holds a mapping.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise UserError(f"{key}: nested too deeply") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{key}: cannot be read ({brief(error)})") from None
    return wanted(key, data, dict)


def wanted(key: str, value: object, kind: Any) -> Any:
    """`value`, if it is of `kind`; a float may be given as a whole number.

    Raises:
        UserError: it is not.
    """
    if kind is float:
        if finite(value) is not None:
            return value
    elif isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise UserError(f"{key}={value}: must be {WORDS[kind]}" if value is not None else f"{key}: is missing")


def entry(key: str, tree: Mapping[str, Any], name: str, kind: Any) -> Any:
    """`tree[name]`, of `kind`; see `wanted`."""
    return wanted(f"{key}.{name}", tree.get(name), kind)


def entries(key: str, tree: Mapping[str, Any], name: str, kind: Any, needed: bool = False) -> tuple[Any, ...]:
    """`tree[name]` as a list of `kind`, empty where it is left out unless it is `needed`.

    Raises:
        UserError: it is no such list, or is needed and empty.
    """
    found = wanted(f"{key}.{name}", tree.get(name) or [], list)
    if needed and not found:
        raise UserError(f"{key}.{name}: is missing")
    return tuple(wanted(f"{key}.{name}", value, kind) for value in found)


def column(key: str, given: Mapping[str, Any]) -> None:
    """Refuse a value of a column that is of the wrong kind.

    Raises:
        UserError: by the name of the field.
    """
    for name in ("title", "metric"):
        entry(key, given, name, str)
    for name in {"step", "attack"} & set(given):
        wanted(f"{key}.{name}", given[name], str)
    wanted(f"{key}.scale", given.get("scale", 1.0), float)
    decimals = wanted(f"{key}.decimals", given.get("decimals", 0) or 0, int)  # null: as many as it takes
    if not 0 <= decimals <= MOST_DECIMALS:
        raise UserError(f"{key}.decimals={decimals}: must be 0 to {MOST_DECIMALS}")
