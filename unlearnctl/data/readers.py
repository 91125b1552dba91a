"""Reading a corpus: local files and folders, or the hub; every mistake is one line with file and row."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearnctl.data.spec import CorpusSpec
from unlearnctl.errors import UserError, brief, nearest, prefetch_hint, unknown
from unlearnctl.hub import ask_once
from unlearnctl.paths import resolve
from unlearnctl.untrusted import loads

SUFFIXES = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".tsv": "tsv", ".csv": "csv",
    ".parquet": "parquet", ".txt": "text", ".md": "text",
}  # fmt: skip
HEADING = re.compile(r"^\s*(= )+.*( =)+\s*$")  # wikitext's ` = Title = `
csv.field_size_limit(1 << 30)


@dataclass(frozen=True)
class Corpus:
    """Texts in order, and what a row may hold besides."""

    texts: list[str]
    prompts: list[str] | None = None  # what stands before the text without counting
    alternates: list[list[str]] | None = None  # what should be said instead, one text or several
    spans: list[list[list[int]]] | None = None  # [start, end) of the characters that matter


Rows = Iterator[tuple[str, Mapping[str, Any]]]  # where a row is, for messages; and its fields


def read_corpus(spec: CorpusSpec, key: str) -> Corpus:
    """All texts of one corpus.

    Raises:
        UserError: missing, empty, a field that is absent or not text, not UTF-8, damaged, or a hub repository
            that cannot be read. The line names `key` and, for a file, the row.
    """
    path = resolve(spec.path)
    texts: list[str] = []
    prompts: list[str] = []
    alternates: list[list[str]] = []
    spans: list[list[list[int]]] = []
    for where, row in _rows(spec, path, key):
        if any(_value(row, name, f"{key}.where", where) not in kept for name, kept in spec.where or ()):
            continue
        text = _field(row, spec.field, f"{key}.field", where)
        if len(text.strip()) < max(1, spec.min_chars):
            continue
        texts.append(text)
        if spec.prompt_field is not None:
            prompts.append(_field(row, spec.prompt_field, f"{key}.prompt_field", where))
        if spec.alternate_field is not None:
            alternates.append(_texts(row, spec.alternate_field, f"{key}.alternate_field", where))
        if spec.spans_field is not None:
            spans.append(_spans(row, spec.spans_field, f"{key}.spans_field", where, len(text)))
        if spec.limit is not None and len(texts) >= spec.limit:
            break
    if not texts:
        raise UserError(f"{key}.path={spec.path}: empty: no text of at least {spec.min_chars} characters")
    return Corpus(texts, prompts or None, alternates or None, spans or None)


def _field(row: Mapping[str, Any], name: str, key: str, where: str) -> str:
    value = _value(row, name, key, where)
    if not isinstance(value, str):
        raise UserError(f"{key}={name}: {where}: expected text, got {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON's \\ud800 alone
        raise UserError(
            f"{key}={name}: {where}: character {error.start + 1} is half of a character"
        ) from None
    return value


def _texts(row: Mapping[str, Any], name: str, key: str, where: str) -> list[str]:
    value = _value(row, name, key, where)
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) and t.strip() for t in texts):
        raise UserError(f"{key}={name}: {where}: expected a text, or a list of texts")
    return texts


def _value(row: Mapping[str, Any], name: str, key: str, where: str) -> Any:
    if name not in row:
        fields = [str(f) for f in row]
        raise UserError(
            f"{key}={name}: {where} has no such field{nearest(name, fields)}. It has: {', '.join(fields) or 'none'}"
        )
    return row[name]


def _spans(row: Mapping[str, Any], name: str, key: str, where: str, length: int) -> list[list[int]]:
    value = _value(row, name, key, where)
    pairs: list[Any] = value if isinstance(value, list) else [None]
    for pair in pairs:
        good = isinstance(pair, list) and len(pair) == 2 and all(type(end) is int for end in pair)
        if not good or not 0 <= pair[0] < pair[1] <= length:
            raise UserError(
                f"{key}={name}: {where}: expected [[start, end], ...] within the text's {length} characters"
            )
    return pairs


def _rows(spec: CorpusSpec, path: str, key: str) -> Rows:
    local = Path(path)
    if local.is_file():
        return _file_rows(local, spec, key)
    if local.is_dir():
        return _folder_rows(local, spec, key)
    looks_local = path.startswith(("/", ".", "~")) or Path(path).suffix in SUFFIXES or path.count("/") > 1
    if local.is_symlink():
        raise UserError(f"{key}.path={spec.path}: a link to nothing")
    if looks_local:
        siblings = [p.name for p in local.parent.iterdir()] if local.parent.is_dir() else []
        raise UserError(f"{key}.path={spec.path}: no such file{nearest(local.name, siblings)}")
    return _hub_rows(spec, key)


def _file_rows(file: Path, spec: CorpusSpec, key: str) -> Rows:
    kind = spec.format or SUFFIXES.get(file.suffix.lower())
    if kind is None:
        known = ", ".join(SUFFIXES)
        raise UserError(
            f"{key}.path={file}: unknown suffix '{file.suffix}'. Allowed: {known}; or set {key}.format"
        )
    if kind not in READERS:
        raise unknown(f"{key}.format", kind, READERS)
    return READERS[kind](file, spec, key)


def _lines(file: Path, key: str) -> Iterator[tuple[int, str]]:
    with file.open("rb") as f:
        for number, raw in enumerate(f, 1):
            try:
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{key}.path={file}: line {number} is not UTF-8 (byte {error.start + 1} of the line)"
                ) from None


def _jsonl(file: Path, spec: CorpusSpec, key: str) -> Rows:
    for number, line in _lines(file, key):
        if not line.strip():
            continue
        try:
            row = loads(line)
        except ValueError as error:
            cut = "" if line.endswith("\n") else "; the file looks cut short"
            raise UserError(f"{key}.path={file}: line {number} is not JSON ({brief(error)}){cut}") from None
        if not isinstance(row, dict):
            raise UserError(f"{key}.path={file}: line {number} is a {type(row).__name__}, not an object")
        yield f"{file}: line {number}", row


def _json(file: Path, spec: CorpusSpec, key: str) -> Rows:
    try:
        rows = loads("".join(line for _, line in _lines(file, key)))
    except ValueError as error:
        raise UserError(f"{key}.path={file}: not JSON ({brief(error)})") from None
    if not isinstance(rows, list):
        raise UserError(f"{key}.path={file}: expected a list of objects, got {type(rows).__name__}")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise UserError(f"{key}.path={file}: item {number} is a {type(row).__name__}, not an object")
        yield f"{file}: item {number}", row


def _table(delimiter: str) -> Callable[[Path, CorpusSpec, str], Rows]:
    def rows(file: Path, spec: CorpusSpec, key: str) -> Rows:
        lines = (line for _, line in _lines(file, key))
        if delimiter == "\t":  # quotes in TSV are text
            reader = csv.DictReader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
        else:
            reader = csv.DictReader(
                lines, delimiter=delimiter, strict=True
            )  # else an open quote takes in the rest
        try:
            for row in reader:
                fields = {k: v or "" for k, v in row.items() if isinstance(k, str)}
                yield f"{file}: line {reader.line_num}", fields
        except csv.Error as error:
            raise UserError(f"{key}.path={file}: line {reader.line_num}: {error}") from None

    return rows


def _text(file: Path, spec: CorpusSpec, key: str) -> Rows:
    # one line is one paragraph, as in wikitext; headings say nothing on their own
    for number, line in _lines(file, key):
        if line.strip() and not HEADING.match(line):
            yield f"{file}: line {number}", {spec.field: line.strip()}


def _parquet(file: Path, spec: CorpusSpec, key: str) -> Rows:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        number = 0
        for batch in ParquetFile(file).iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield f"{file}: row {number}", row
    except (ArrowException, OSError, ValueError, OverflowError) as error:
        raise UserError(f"{key}.path={file}: not a readable parquet file ({brief(error)})") from None


READERS: dict[str, Callable[[Path, CorpusSpec, str], Rows]] = {
    "jsonl": _jsonl, "json": _json, "tsv": _table("\t"), "csv": _table(","), "text": _text, "parquet": _parquet,
}  # fmt: skip


def _folder_rows(folder: Path, spec: CorpusSpec, key: str) -> Rows:
    if (folder / "dataset_info.json").is_file() or (folder / "dataset_dict.json").is_file():
        return _saved_rows(folder, spec, key)
    scope = folder / spec.name if spec.name and (folder / spec.name).is_dir() else folder
    files = sorted(p for p in scope.rglob("*") if p.suffix.lower() in SUFFIXES and p.name != "README.md")
    chosen = [p for p in files if p.stem.split("-")[0] == spec.split] or [
        p for p in files if p.suffix != ".md"
    ]
    if not chosen:
        raise UserError(f"{key}.path={folder}: a folder without data. Looked for: {', '.join(SUFFIXES)}")
    return (row for file in chosen for row in _file_rows(file, spec, key))


def _saved_rows(folder: Path, spec: CorpusSpec, key: str) -> Rows:
    from datasets import DatasetDict, load_from_disk

    try:
        data = load_from_disk(str(folder))
        if isinstance(data, DatasetDict):
            if spec.split not in data:
                raise unknown(f"{key}.split", spec.split, data)
            data = data[spec.split]
        for number, row in enumerate(data, 1):
            yield f"{folder}: row {number}", row
    except (UserError, GeneratorExit):
        raise
    except Exception as error:  # the library trusts its own files: a damaged one fails anywhere in it
        raise UserError(f"{key}.path={folder}: not a readable saved dataset ({brief(error)})") from None


def _hub_rows(spec: CorpusSpec, key: str) -> Rows:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    ask_once()
    try:
        data = load_dataset(spec.path, spec.name, split=spec.split, revision=spec.revision)
    except (DatasetNotFoundError, OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{key}.path={spec.path}: {_hub_reason(error)}") from None
    return ((f"{spec.path}: row {number}", row) for number, row in enumerate(data, 1))


def _hub_reason(error: Exception) -> str:
    text = str(error)
    if re.search(r"gated|401|403|authenticated", text, re.IGNORECASE):
        return "a gated or private dataset: run `hf auth login` with access, or give a local path"
    if re.search(r"Unknown split|BuilderConfig|split", text):
        return brief(error)
    return (
        "no local file of that name, and no dataset of that name in the hub's cache or in reach: "
        f"give a local path, or go online{prefetch_hint()}"
    )
