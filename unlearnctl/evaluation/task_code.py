"""Task files of others are data: what in them would run Python is found before the harness reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from unlearnctl.errors import UserError

PYTHON = ("!function", "tag:yaml.org,2002:python")  # tags that call or make what they name


def check_task_code(folder: Path, key: str, allowed: bool) -> None:
    """Refuse task files that name Python code, or with `allowed` print which.

    Raises:
        UserError: a file of the folder, or one that it includes, would run code; with file and line.
    """
    found = [place for file in sorted(folder.rglob("*.yaml")) for place in _code(file, set())]
    if found and not allowed:
        raise UserError(
            f"{key}.include={folder}: {found[0]} would run Python; read it, and if it may, "
            f"add {key}.trust_task_code=true"
        )
    for place in dict.fromkeys(found):
        print(f"{key}.trust_task_code=true: runs {place}")


def unreadable(folder: Path) -> str | None:
    """The first file of the folder that the harness leaves out without a word, and why."""
    for file in sorted(folder.rglob("*.yaml")):
        try:
            root: Any = yaml.compose(file.read_text(encoding="utf-8"), yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            return f"{file}:{line}: not YAML ({error.problem})"
        except (OSError, ValueError, yaml.YAMLError) as error:
            return f"{file}: cannot be read ({type(error).__name__})"
        if not isinstance(root, yaml.MappingNode):
            return f"{file}: not a mapping of task settings"
    return None


def _code(file: Path, seen: set[Path]) -> Iterator[str]:
    """`FILE:LINE: what` for each piece of code, in the file and in those that it includes."""
    if file.resolve() in seen:
        return
    seen.add(file.resolve())
    try:
        root: Any = yaml.compose(file.read_text(encoding="utf-8"), yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError):
        return  # the harness does not read it either
    for name, node in _nodes("", root):
        value = node.value if isinstance(node, yaml.ScalarNode) else ""
        where = f"{file}:{node.start_mark.line + 1}: "
        if str(node.tag).startswith(PYTHON):
            yield f"{where}{node.tag.rpartition(':')[2]} {value}".rstrip()
        elif name == "metric" and value and not _known_metric(value):
            yield f"{where}metric {value}"  # looked for as a Python file, here or on the hub
        elif name in ("hf_evaluate", "unsafe_code") and value.lower() == "true":
            yield f"{where}{name}: true"
        elif name == "include" and value:
            yield from _code(file.parent / value, seen)


def _nodes(name: str, node: Any) -> Iterator[tuple[str, Any]]:
    """Every node with the key that it stands under; items of a list stand under the list's."""
    if node is None:
        return
    yield name, node
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _nodes(str(key.value), value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _nodes(name, value)


def _known_metric(name: str) -> bool:
    import lm_eval.api.metrics  # noqa: F401  registers its own
    from lm_eval.api.registry import metric_registry

    return name in metric_registry
