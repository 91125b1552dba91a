"""Task files from others: each is read once, as bytes, into plain data, and the harness gets only that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from unlearnctl.evaluation.task_code import named_code
from unlearnctl.utils.paths import shown
from unlearnctl.utils.safe_json import read_bytes

LARGEST = 1 << 20  # bytes of a task file
MOST = 100_000  # values of a task file, aliases written out
DEEPEST = 100  # levels, aliases written out; and files that include one another
LEFT_OUT = ("__pycache__", ".ipynb_checkpoints")  # folders that the harness does not look into


class Code:
    """What `!function` names; imported when the harness copies the config to build a task."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder

    def __deepcopy__(self, memo: object) -> Any:
        from lm_eval.tasks._yaml_loader import _import_func_in_yml

        return _import_func_in_yml(self.name, self.folder)


class Unreadable(Exception):
    """Why a file holds no task."""


class _Loader(yaml.SafeLoader):
    """Plain data, and `Code`; every other tag is an error."""

    def __init__(self, content: bytes, folder: Path) -> None:
        super().__init__(content)
        self.folder = folder

    def code(self, node: yaml.Node) -> Code:
        return Code(str(self.construct_scalar(node)), self.folder)  # type: ignore[arg-type]


_Loader.add_constructor("!function", _Loader.code)


@dataclass
class TaskFiles:
    """What a folder holds: configs with their files, places that name code, and files that cannot be read."""

    configs: list[tuple[Path, dict[str, Any]]] = field(default_factory=list)
    code: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def read_tasks(folder: Path) -> TaskFiles:
    """Read all `*.yaml` of a folder and what they include, wherever that is; links are followed.

    A file that cannot be parsed here is never handed on.
    """
    found = TaskFiles()
    reader = _Reader(found)
    for file in sorted(folder.rglob("*.yaml"), key=lambda path: path.as_posix()):
        if any(part in LEFT_OUT for part in file.parts):
            continue
        try:
            config = reader.whole(file, ())
        except Unreadable as error:
            found.broken += [str(error)] if str(error) else []
        else:
            found.configs.append((file, config))
    return found


class _Reader:
    """Reads each file once, however often it is included."""

    def __init__(self, found: TaskFiles) -> None:
        self.found = found
        self.own: dict[Path, dict[str, Any] | Unreadable] = {}

    def whole(self, file: Path, above: tuple[Path, ...]) -> dict[str, Any]:
        """Merge a file's settings over those that it includes, as the harness does.

        Raises:
            Unreadable: the file cannot be read; without a word if it is one that it includes, or they go in circles.
        """
        try:
            place = file.resolve()
        except (OSError, ValueError, RuntimeError):  # no name of a file; links in circles
            raise Unreadable from None
        if place in above or len(above) == DEEPEST:
            raise Unreadable
        own = self._own(file, place)
        names = own.get("include", [])
        merged: dict[str, Any] = {}
        # a link's includes stand beside the file that it leads to
        home = file.parent if place.parent == file.parent.resolve() else shown(place.parent)
        for name in names if isinstance(names, list) else [names]:
            if not isinstance(name, str):
                raise Unreadable
            try:
                part = self.whole(home / name, (*above, place))
            except Unreadable:
                raise Unreadable from None
            merged |= {key: value for key, value in part.items() if key != "task_list"}
        return merged | {key: value for key, value in own.items() if key != "include"}

    def _own(self, file: Path, place: Path) -> dict[str, Any]:
        if place not in self.own:
            try:
                self.own[place] = self._read(file, place)
            except Unreadable as error:
                self.own[place] = error
        known = self.own[place]
        if isinstance(known, Unreadable):
            raise known
        return known

    def _read(self, file: Path, place: Path) -> dict[str, Any]:
        try:
            loader = _Loader(read_bytes(place, LARGEST), place.parent)
            root: Any = loader.get_single_node()
            if not isinstance(root, yaml.MappingNode):
                raise Unreadable(f"{file}: not a mapping of task settings")
            _measure(root)
            self.found.code += [f"{file}:{line}: {what}" for line, what in named_code(root)]
            return loader.construct_document(root)
        except Unreadable:
            raise
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise Unreadable(f"{file}:{line}: not YAML ({error.problem})") from error
        except Exception as error:  # of files, and whatever the constructors say to an odd value
            raise Unreadable(f"{file}: cannot be read ({type(error).__name__})") from error


def _measure(root: yaml.Node) -> None:
    """Refuse aliases that hold themselves, or stand for more than anyone would write."""
    sizes: dict[int, tuple[int, int] | None] = {}

    def measured(node: yaml.Node) -> tuple[int, int]:
        if id(node) not in sizes:
            sizes[id(node)] = None  # not known yet: it is being measured
            below = [measured(child) for child in children(node)]
            size = 1 + sum(size for size, _ in below), 1 + max((depth for _, depth in below), default=0)
            if size[0] > MOST or size[1] > DEEPEST:
                raise ValueError("too large")
            sizes[id(node)] = size
        known = sizes[id(node)]
        if known is None:
            raise ValueError("holds itself")
        return known

    measured(root)


def children(node: yaml.Node) -> Iterator[yaml.Node]:
    """Yield keys and values, or items."""
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value
