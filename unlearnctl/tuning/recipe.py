"""Write the settings that were found as a recipe, and read one that was named by its path."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from yaml.cyaml import CSafeLoader

from unlearnctl.utils.atomic import write_atomically
from unlearnctl.utils.errors import UserError, brief
from unlearnctl.utils.numbers import flatten

ALLOWED = (
    "objective.",
    "trainer.",
)  # what a recipe may set: it comes from elsewhere, and names no files or classes


def write_recipe(file: Path, heading: Sequence[str], values: Mapping[str, Any]) -> None:
    """Write a recipe in the form of conf/recipe/MODEL/OBJECTIVE.yaml.

    Args:
        file: to write.
        heading: comment lines: what was searched, how well it did, the command that takes it.
        values: by dotted key.
    """
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *parents, name = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    comment = "".join(f"# {line}\n" for line in heading)
    write_atomically(file, f"# @package _global_\n{comment}{yaml.safe_dump(tree, sort_keys=False)}")


def overrides_of(file: str) -> list[str]:
    """Read a recipe as `key=value` arguments.

    Raises:
        UserError: no such file, or not a recipe.
    """
    try:
        values = yaml.load(Path(file).read_text(encoding="utf-8"), CSafeLoader)
    except OSError as error:
        raise UserError(f"recipe={file}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"recipe={file}: not YAML ({brief(error)})") from error
    if not isinstance(values, dict) or not values or "defaults" in values:
        raise UserError(f"recipe={file}: must be a mapping of settings, as `unlearnctl tune` writes it")
    found = flatten(values)
    if other := next((key for key in found if not str(key).startswith(ALLOWED)), None):
        raise UserError(f"recipe={file}: {other}: a recipe sets keys of {' and '.join(ALLOWED)} alone")
    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in found.items()]


def laid_under(args: Sequence[str]) -> list[str]:
    """Replace `recipe=FILE.yaml` by its settings, before everything else that was typed, which wins over them.

    Another `recipe=` is an option of Hydra's group, such as `recipe=tinyworld/rmu`, and is left alone.

    Raises:
        UserError: see `overrides_of`.
    """
    named = [arg for arg in args if arg.startswith("recipe=") and arg.endswith(".yaml")]
    settings = [each for arg in named for each in overrides_of(arg.partition("=")[2])]
    return [*settings, *(arg for arg in args if arg not in named)]
