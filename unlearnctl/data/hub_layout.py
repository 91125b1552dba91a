"""Finds the files of a configuration and a split in a folder that is laid out as on the hub.

The README's `configs:` decides, if it has one; else the names of files and folders do, by the hub's conventions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from unlearnctl.data.formats import SUFFIXES
from unlearnctl.data.spec import CorpusSpec
from unlearnctl.data.text_lines import bare, suffix
from unlearnctl.utils.errors import UserError, nearest

SPLITS = {  # word in a file's name → split
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
SHARD = re.compile(r"^(\w+(?:\.\w+)*)-\d{5}-of-\d{5}$")
ABOUT = ("readme", "license", "licence", "notice", "citation", "changelog", "requirements")
RECORDS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "metadata.json")
Splits = dict[str, list[Path]]


def choose(folder: Path, spec: CorpusSpec, key: str) -> list[Path]:
    """Return the files of a folder that hold the configuration `spec.name` and the split `spec.split`.

    Raises:
        UserError: the folder has no data, or no such configuration or split; names those that exist.
    """
    files = data_files(folder)
    if not files:
        raise UserError(
            f"{key}.path={folder}: no data files in this folder. Looked for: {', '.join(SUFFIXES)}"
        )
    card = _card(folder, files)
    if spec.name is None:
        return _of_split(_default(card, folder, key) if card else None, files, folder, spec, key)
    if spec.name in card:
        return _of_split(card[spec.name], [], folder, spec, key)
    for scope in (folder / spec.name, folder / "data" / spec.name):
        if inside := [file for file in files if scope in file.parents]:
            return _of_split(None, inside, scope, spec, key)
    if named := [file for file in files if _is_named(file, spec.name)]:
        return _of_split(None, named, folder, spec, key)
    names = sorted({*card, *_layout_names(folder, files)})
    if not names:
        raise UserError(
            f"{key}.name={spec.name}: the folder {folder} has no configurations; set {key}.name=null"
        )
    raise UserError(
        f"{key}.name={spec.name}: the folder {folder} has no such configuration{nearest(spec.name, names)}. "
        f"It has: {', '.join(names)}"
    )


def data_files(folder: Path) -> list[Path]:
    """Return the files that may hold rows: not hidden, not documentation, and not the hub's own records."""
    found = []
    for file in sorted(folder.rglob("*")):
        parts = file.relative_to(folder).parts
        hidden = any(part.startswith((".", "__")) for part in parts)
        if suffix(file) in SUFFIXES and not hidden and is_data(file) and file.is_file():
            found.append(file)
    return found


def is_data(file: Path) -> bool:
    """Return whether a file of a known suffix holds data, rather than a description of them."""
    if suffix(file) == ".md" or file.name in RECORDS:
        return False
    return _stem(file).split(".")[0].lower() not in ABOUT


def _stem(file: Path) -> str:
    return Path(bare(file)).stem


def _is_named(file: Path, name: str) -> bool:
    """Match `NAME.jsonl`, `NAME-train.jsonl` and `NAME-test-00000-of-00002.parquet`."""
    rest = _stem(file).removeprefix(name)
    words = "|".join(SPLITS)
    return rest != _stem(file) and re.fullmatch(rf"([-_]({words}))?(-\d+-of-\d+)?", rest) is not None


def _layout_names(folder: Path, files: Iterable[Path]) -> set[str]:
    """Return the names of folders and files that could be configurations, because they are not names of splits."""
    names = set()
    for file in files:
        parts = [part for part in file.relative_to(folder).parts if part != "data"]
        if len(parts) > 1:
            names.add(parts[0])
        elif _label(file, folder) is None:
            names.add(_stem(file))
    return names - set(SPLITS)


def _label(file: Path, scope: Path) -> str | None:
    """Return the split that a file's name, or else the nearest of its folders, says it belongs to."""
    if sharded := SHARD.match(_stem(file)):
        return sharded[1]
    words = re.split(r"[-_.\s\d]+", _stem(file).lower())
    folders = [part.lower() for part in reversed(file.relative_to(scope).parts[:-1])]
    return next((word for word in [*words, *folders] if word in SPLITS), None)


def _of_split(known: Splits | None, files: list[Path], scope: Path, spec: CorpusSpec, key: str) -> list[Path]:
    """Return the files of `spec.split`, as the README declares them or by the names of files and folders."""
    if known is None:
        if asked := [file for file in files if spec.split in _names(file, scope)]:
            return asked
        known = {}
        for file in files:
            known.setdefault(_label(file, scope) or "", []).append(file)
        nameless = known.pop("", [])
        known = known or {"train": nameless}  # no name tells a split: all files are parts of one
    if found := known.get(spec.split):
        return found
    wanted = SPLITS.get(spec.split, spec.split)  # `validation` finds what is declared as `dev`
    found = []
    for name, own in known.items():
        if SPLITS.get(name) == wanted:
            found += own
    if found:
        return found
    raise UserError(
        f"{key}.split={spec.split}: the folder {scope} has no such split{nearest(spec.split, known)}. "
        f"It has: {', '.join(sorted(known)) or 'none'}"
    )


def _names(file: Path, scope: Path) -> set[str]:
    """Return the names under which a file may be asked for as a split."""
    folders = {part for part in file.relative_to(scope).parts[:-1] if part not in SPLITS}
    return {_label(file, scope) or "", _stem(file), _stem(file).split("-")[0], *folders} - {""}


def _default(card: Mapping[str, Splits], folder: Path, key: str) -> Splits:
    if len(card) == 1 or "default" in card:
        return card.get("default") or next(iter(card.values()))
    raise UserError(
        f"{key}.name=null: the folder {folder} has several configurations; name one of: {', '.join(card)}"
    )


def _card(folder: Path, files: list[Path]) -> dict[str, Splits]:
    """Read the configurations that the README's `configs:` declares, name → split → files; empty if it has none."""
    try:
        _, head, _ = (folder / "README.md").read_text(encoding="utf-8").split("---", 2)
        configs = yaml.safe_load(head)["configs"]
        return {str(c["config_name"]): _declared(folder, files, c) for c in configs if isinstance(c, Mapping)}
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError, RuntimeError):  # anybody's README
        return {}


def _declared(folder: Path, files: list[Path], config: Mapping[str, Any]) -> Splits:
    """Resolve one declared configuration: patterns for all data, or for each split, or none at all."""
    scope = folder / _inside(config.get("data_dir") or "")
    patterns = config.get("data_files")
    if isinstance(patterns, Mapping):
        patterns = [{"split": split, "path": path} for split, path in patterns.items()]
    found: Splits = {}
    for entry in patterns if isinstance(patterns, list) else [patterns or "**/*"]:
        one = entry if isinstance(entry, Mapping) else {"path": entry}
        paths = one["path"] if isinstance(one["path"], list) else [one["path"]]
        chosen: set[Path] = set()
        for path in paths:
            chosen.update(scope.glob(_inside(path)))
        for file in files:  # only data, and in their order
            if file in chosen:
                by_name = _label(file, scope) if patterns is None else None
                label = str(one.get("split") or by_name or "train")
                found.setdefault(label, []).append(file)
    return found


def _inside(path: object) -> str:
    """Refuse a path from a README that leads out of the folder."""
    if Path(str(path)).is_absolute() or ".." in Path(str(path)).parts:
        raise ValueError(f"{path}: not in the folder")
    return str(path)
