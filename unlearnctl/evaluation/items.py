"""Rows of a benchmark's own files, local or on the hub, with the fields that a suite needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import PositiveInt

from unlearnctl.data.sources import rows_of
from unlearnctl.data.spec import CorpusSpec
from unlearnctl.tinyworld.resolve import resolve
from unlearnctl.utils.errors import UserError, nearest

Item = Mapping[str, Any]
Tokens = Annotated[PositiveInt, "tokens"]


def read_items(
    path: str,
    name: str,
    split: str,
    key: str,
    texts: Sequence[str],
    lists: Sequence[str] = (),
    limit: int | None = None,
    revision: str | None = None,
) -> list[Item]:
    """Read the rows of one set, and check each.

    Args:
        path: hub id, or a folder with `NAME.jsonl` (or .json, .parquet …) or `NAME/SPLIT.jsonl`.
        texts: fields that hold a text that is not empty.
        lists: fields that hold a list of such texts, at least one.

    Raises:
        UserError: no such set, an empty one, or a row without what is needed; one line with `key`, file and row.
    """
    spec = _spec(path, name, split, key, revision)
    items: list[Item] = []
    for where, row in rows_of(spec, key):
        _check(row, where, key, texts, lists)
        items.append(row)
        if limit is not None and len(items) >= limit:
            break
    if not items:
        raise UserError(f"{key}.path={path}: {name} is empty")
    return items


def _spec(path: str, name: str, split: str, key: str, revision: str | None) -> CorpusSpec:
    folder = Path(resolve(path))
    if not folder.is_dir():
        return CorpusSpec(path, name=name, split=split, revision=revision)
    if (folder / name).is_dir():
        found = [p.stem.split("-")[0] for p in (folder / name).iterdir()]
        if split not in found:  # the reader of corpora would take every file there
            raise UserError(f"{key}.path={path}: {name} holds no {split}{nearest(split, found)}")
        return CorpusSpec(path, name=name, split=split)
    files = sorted(p for p in folder.glob(f"{name}.*") if p.is_file())
    if not files:
        near = nearest(name, [p.stem for p in folder.iterdir()])
        raise UserError(f"{key}.path={path}: holds no set {name}{near} (looked for {name}.jsonl)")
    return CorpusSpec(str(files[0]), split=split)


def _check(row: Item, where: str, key: str, texts: Sequence[str], lists: Sequence[str]) -> None:
    for name in (*texts, *lists):
        if name not in row:
            had = ", ".join(map(str, row))
            raise UserError(f"{key}: {where}: {name} is missing{nearest(name, row)}. It has: {had}")
    for name in texts:
        if not _is_text(row[name]):
            raise UserError(f"{key}: {where}: {name} must be a text that is not empty")
    for name in lists:
        value = row[name]
        if not isinstance(value, list) or not value or not all(map(_is_text, value)):
            raise UserError(f"{key}: {where}: {name} must be a list of texts, at least one")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
