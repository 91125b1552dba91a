"""What in a task file would run Python, found in the very nodes that the settings are then made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from unlearnctl.utils.errors import UserError

PYTHON = ("!function", "tag:yaml.org,2002:python")  # tags that call or make what they name
SWITCHES = ("hf_evaluate", "unsafe_code")
OFF = ("false", "no", "off", "null", "~", "")  # as YAML writes it
ELSEWHERE = ("use_prompt", "sql")  # other files and packages; a query, which may have a database write files
PROMPTS = "qa-basic:"  # the harness's own


def check_task_code(code: Sequence[str], folder: Path, key: str, allowed: bool) -> None:
    """Refuse task files that name Python code, or with `allowed` print which.

    Raises:
        UserError: there is some; with the first file and line.
    """
    if code and not allowed:
        raise UserError(
            f"{key}.include={folder}: {code[0]} would run Python; read it, and if it may, "
            f"add {key}.trust_task_code=true"
        )
    for place in dict.fromkeys(code):
        print(f"{key}.trust_task_code=true: runs {place}")


def named_code(root: yaml.Node) -> Iterator[tuple[int, str]]:
    """List line and name of each piece of code, in the order of the file."""
    for name, node in _nodes("", root, set()):
        value = node.value if isinstance(node, yaml.ScalarNode) else ""
        is_off = isinstance(node, yaml.ScalarNode) and value.lower() in OFF
        line = node.start_mark.line + 1
        if str(node.tag).startswith(PYTHON):
            yield line, f"{node.tag.rpartition(':')[2]} {value}".rstrip()
        elif name == "metric" and value and not _known_metric(value):
            yield line, f"metric {value}"  # looked for as a Python file, here or on the hub
        elif name in SWITCHES and not is_off:
            yield line, f"{name}: {value}".rstrip()
        elif name in ELSEWHERE and not is_off and not value.startswith(PROMPTS):
            yield line, f"{name} {value}"


def _nodes(name: str, node: yaml.Node, seen: set[tuple[str, int]]) -> Iterator[tuple[str, yaml.Node]]:
    """Yield every node with the key that it stands under; keys stand under none, items of a list under its key.

    An alias is looked at once under each key.
    """
    if (name, id(node)) in seen:
        return
    seen.add((name, id(node)))
    yield name, node
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _nodes("", key, seen)
            yield from _nodes(str(key.value), value, seen)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _nodes(name, value, seen)


def _known_metric(name: str) -> bool:
    import lm_eval.api.metrics  # noqa: F401  registers its own
    from lm_eval.api.registry import metric_registry

    return name in metric_registry
