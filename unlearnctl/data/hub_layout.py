"""A folder of data in the hub's layout: its configurations and splits, and which files a corpus means by them."""

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

SPLITS = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
    "dev": "validation", "test": "test", "testing": "test",
}  # fmt: skip
SHARD = re.compile(r"^(\w+(?:\.\w+)*)-\d{5}-of-\d{5}$")
ABOUT = ("readme", "license", "licence", "notice", "citation", "changelog", "requirements")
RECORDS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "metadata.json")
Splits = dict[str, list[Path]]


def choose(folder: Path, spec: CorpusSpec, key: str) -> list[Path]:
    """The files that hold the configuration `spec.name` and the split `spec.split` of a folder.

    Raises:
        UserError: no data there, or no such configuration or split; the line names those that exist.
    """
    files = data_files(folder)
    if not files:
        raise UserError(f"{key}.path={folder}: a folder without data. Looked for: {', '.join(SUFFIXES)}")
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
    """What may hold rows: nothing hidden, no documentation, no records of the hub's own."""
    found = []
    for file in sorted(folder.rglob("*")):
        parts = file.relative_to(folder).parts
        hidden = any(part.startswith((".", "__")) for part in parts)
        if suffix(file) in SUFFIXES and not hidden and is_data(file) and file.is_file():
            found.append(file)
    return found


def is_data(file: Path) -> bool:
    """Whether a file of a known suffix is none that only speaks about data."""
    return (
        suffix(file) != ".md" and file.name not in RECORDS and _stem(file).split(".")[0].lower() not in ABOUT
    )


def _stem(file: Path) -> str:
    return Path(bare(file)).stem


def _is_named(file: Path, name: str) -> bool:
    """`NAME.jsonl`, `NAME-train.jsonl`, `NAME-test-00000-of-00002.parquet`."""
    rest = _stem(file).removeprefix(name)
    words = "|".join(SPLITS)
    return rest != _stem(file) and re.fullmatch(rf"([-_]({words}))?(-\d+-of-\d+)?", rest) is not None


def _layout_names(folder: Path, files: Iterable[Path]) -> set[str]:
    """Folders and files that could be configurations: those whose names are not a split's."""
    names = set()
    for file in files:
        first, *more = [part for part in file.relative_to(folder).parts if part != "data"] or [file.name]
        if more:
            names.add(first)
        elif _label(file, folder) is None:
            names.add(_stem(file))
    return names - set(SPLITS)


def _label(file: Path, scope: Path) -> str | None:
    """The split that a file's name or folder says it belongs to."""
    if sharded := SHARD.match(_stem(file)):
        return sharded[1]
    words = re.split(r"[-_.\s\d]+", _stem(file).lower())
    folders = [part.lower() for part in reversed(file.relative_to(scope).parts[:-1])]
    return next((word for word in [*words, *folders] if word in SPLITS), None)


def _of_split(known: Splits | None, files: list[Path], scope: Path, spec: CorpusSpec, key: str) -> list[Path]:
    """The files of `spec.split`: as the folder's card says, or by their names and folders."""
    if known is None:
        if asked := [file for file in files if spec.split in _names(file, scope)]:
            return asked
        known = {}
        for file in files:
            known.setdefault(_label(file, scope) or "", []).append(file)
        nameless = known.pop("", [])
        known = known or {"train": nameless}  # where no name says anything: parts of one split
    wanted = SPLITS.get(spec.split, spec.split)
    if found := known.get(spec.split) or [
        f for n, own in known.items() if SPLITS.get(n) == wanted for f in own
    ]:
        return found
    raise UserError(
        f"{key}.split={spec.split}: the folder {scope} has no such split{nearest(spec.split, known)}. "
        f"It has: {', '.join(sorted(known)) or 'none'}"
    )


def _names(file: Path, scope: Path) -> set[str]:
    """Names under which a file may be asked for as a split."""
    folders = {part for part in file.relative_to(scope).parts[:-1] if part not in SPLITS}
    return {_label(file, scope) or "", _stem(file), _stem(file).split("-")[0], *folders} - {""}


def _default(card: Mapping[str, Splits], folder: Path, key: str) -> Splits:
    if len(card) == 1 or "default" in card:
        return card.get("default") or next(iter(card.values()))
    raise UserError(
        f"{key}.name=null: the folder {folder} has several configurations; name one of: {', '.join(card)}"
    )


def _card(folder: Path, files: list[Path]) -> dict[str, Splits]:
    """Configurations as the README's `configs:` declares them: name → split → files; empty where it does not."""
    try:
        _, head, _ = (folder / "README.md").read_text(encoding="utf-8").split("---", 2)
        configs = yaml.safe_load(head)["configs"]
        return {str(c["config_name"]): _declared(folder, files, c) for c in configs if isinstance(c, Mapping)}
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError, RuntimeError):
        return {}


def _declared(folder: Path, files: list[Path], config: Mapping[str, Any]) -> Splits:
    scope = folder / _inside(config.get("data_dir") or "")
    patterns = config.get("data_files")
    if isinstance(patterns, Mapping):
        patterns = [{"split": split, "path": path} for split, path in patterns.items()]
    found: Splits = {}
    for entry in patterns if isinstance(patterns, list) else [patterns or "**/*"]:
        one = entry if isinstance(entry, Mapping) else {"path": entry}
        paths = one["path"] if isinstance(one["path"], list) else [one["path"]]
        chosen = {file for path in paths for file in scope.glob(_inside(path))}
        for file in [file for file in files if file in chosen]:  # data alone
            label = str(one.get("split") or (_label(file, scope) if patterns is None else None) or "train")
            found.setdefault(label, []).append(file)
    return found


def _inside(path: object) -> str:
    """A path of somebody else's card, which is to stay within the folder."""
    if Path(str(path)).is_absolute() or ".." in Path(str(path)).parts:
        raise ValueError(f"{path}: not in the folder")
    return str(path)
