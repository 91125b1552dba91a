"""Resolves a corpus's path: a file, a pattern, a list of these, a folder in hub layout, a saved dataset, a hub id."""

from __future__ import annotations

import re
from glob import glob, has_magic
from itertools import chain
from pathlib import Path

from unlearnctl.data.formats import SUFFIXES, Rows, file_rows
from unlearnctl.data.hub_layout import choose, is_data
from unlearnctl.data.spec import CorpusSpec
from unlearnctl.data.text_lines import suffix
from unlearnctl.tinyworld.resolve import resolve
from unlearnctl.utils.errors import UserError, brief, nearest, prefetch_hint, unknown
from unlearnctl.utils.hub import ask_once


def rows_of(spec: CorpusSpec, key: str) -> Rows:
    """Return all rows of a corpus's path, configuration and split.

    Raises:
        UserError: a part of it does not exist, or a file is damaged or named twice; names `key`.
    """
    seen: set[Path] = set()
    parts = []
    for path in spec.paths:
        found = _find(resolve(path), path, spec, key)
        if isinstance(found, list):
            if twice := seen & {file.resolve() for file in found}:
                raise UserError(f"{key}.path={spec.shown}: {min(twice).name} is named twice")
            seen |= {file.resolve() for file in found}
            parts += [file_rows(file, spec, key) for file in found]
        else:
            parts.append(found)
    return chain.from_iterable(parts)


def _find(path: str, typed: str, spec: CorpusSpec, key: str) -> list[Path] | Rows:
    """Return the files of a path, or the rows of a dataset that a library reads."""
    local = Path(path)
    if local.is_file():
        return [local]
    if local.is_dir():
        if (local / "dataset_info.json").is_file() or (local / "dataset_dict.json").is_file():
            return _saved_rows(local, spec, key)
        return _folder_files(local, spec, key)
    if has_magic(path):
        files = [Path(p) for p in sorted(glob(path, recursive=True))]  # noqa: PTH207 (absolute ones too)
        if chosen := [file for file in files if file.is_file() and is_data(file)]:
            return chosen
        raise UserError(f"{key}.path={typed}: no file matches")
    looks_local = path.startswith(("/", ".", "~")) or suffix(local) in SUFFIXES or path.count("/") > 1
    if local.is_symlink():
        raise UserError(f"{key}.path={typed}: a broken symlink")
    if looks_local:
        siblings = [p.name for p in local.parent.iterdir()] if local.parent.is_dir() else []
        raise UserError(f"{key}.path={typed}: no such file{nearest(local.name, siblings)}")
    return _hub_rows(path, spec, key)


def _folder_files(folder: Path, spec: CorpusSpec, key: str) -> list[Path]:
    files = choose(folder, spec, key)
    stems = {re.sub(r"\d+", "", file.name.partition(".")[0]) for file in files}
    if len(stems) > 1:  # they are not numbered parts of one file, so the user may not expect all of them
        names = ", ".join(str(file.relative_to(folder)) for file in files[:8])
        print(
            f"{key}.path={folder}: {len(files)} files read as one corpus: {names}{', …' * (len(files) > 8)}"
        )
    return files


def _saved_rows(folder: Path, spec: CorpusSpec, key: str) -> Rows:
    from datasets import Dataset, DatasetDict, load_from_disk

    try:
        data = load_from_disk(str(folder))
        if isinstance(data, DatasetDict):
            if spec.split not in data:
                raise unknown(f"{key}.split", spec.split, data)
            data = data[spec.split]
        assert isinstance(data, Dataset)
        _check_saved(data, folder, spec, key)
        for number, row in enumerate(data, 1):
            yield f"{folder}: row {number}", row
    except (UserError, GeneratorExit):
        raise
    except Exception as error:  # the library trusts its files, so a damaged one fails anywhere
        raise UserError(f"{key}.path={folder}: not a readable saved dataset ({brief(error)})") from None


def _check_saved(data: object, folder: Path, spec: CorpusSpec, key: str) -> None:
    """Refuse a configuration or a split other than the one that the saved dataset says it holds."""
    own, split = getattr(data, "config_name", None), str(getattr(data, "split", None) or "")
    if spec.name is not None and spec.name != own:
        known = f"holds the configuration {own}" if own not in (None, "default") else "has no configurations"
        raise UserError(
            f"{key}.name={spec.name}: the saved dataset {folder} {known}; set {key}.name={own or 'null'}"
        )
    if re.fullmatch(r"\w+", split) and split != spec.split:
        raise UserError(f"{key}.split={spec.split}: the saved dataset {folder} holds the split {split}")


def _hub_rows(path: str, spec: CorpusSpec, key: str) -> Rows:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    ask_once()
    try:
        data = load_dataset(path, spec.name, split=spec.split, revision=spec.revision)
    except (DatasetNotFoundError, OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{key}.path={path}: {_hub_reason(error)}") from None
    return ((f"{path}: row {number}", row) for number, row in enumerate(data, 1))


def _hub_reason(error: Exception) -> str:
    text = str(error)
    if re.search(r"gated|401|403|authenticated", text, re.IGNORECASE):
        return "a gated or private dataset: run `hf auth login` with access, or give a local path"
    if re.search(r"Unknown split|BuilderConfig|split", text):
        return brief(error)
    return (
        "no local file of that name, and no such dataset in the hub's cache or within reach; "
        f"give a local path, or go online{prefetch_hint()}"
    )
