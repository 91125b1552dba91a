"""Reads the rows of one file of a corpus, whatever its format."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from unlearnctl.data.question_tables import is_question, question_row
from unlearnctl.data.spec import CorpusSpec
from unlearnctl.data.text_lines import PACKED, lines, suffix
from unlearnctl.utils.errors import UserError, brief, unknown
from unlearnctl.utils.safe_json import loads

SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".tsv": "tsv",
    ".csv": "csv",
    ".parquet": "parquet",
    ".txt": "text",
    ".md": "text",
}
HEADING = re.compile(r"^\s*(= )+.*( =)+\s*$")  # wikitext's ` = Title = `
LARGEST = 1 << 30  # characters of a JSON list, which is read as a whole
csv.field_size_limit(1 << 30)

Rows = Iterator[tuple[str, Mapping[str, Any]]]  # each row's place, for messages, and its fields


def file_rows(file: Path, spec: CorpusSpec, key: str) -> Rows:
    """Read the rows of one file; the config gives the format, or else its suffix and, for JSON, its content do.

    Raises:
        UserError: an unknown format, or a damaged file; names the line or row.
    """
    kind = spec.format or SUFFIXES.get(suffix(file))
    if kind is not None and kind not in READERS:
        raise unknown(f"{key}.format", kind, READERS)
    if kind in ("json", "jsonl") or (spec.format is None and kind in (None, "text")):
        kind = _json_kind(file, key, kind)
    if kind == "csv" and spec.format is None and is_question(next(_cells(file, key), [])):
        kind = "questions"
    if kind is None:
        known = ", ".join(SUFFIXES)
        raise UserError(
            f"{key}.path={file}: unknown suffix '{suffix(file)}'. Allowed: {known}, each also packed "
            f"({', '.join(PACKED)}); or set {key}.format"
        )
    return READERS[kind](file, spec, key)


def _json_kind(file: Path, key: str, kind: str | None) -> str | None:
    """Tell json from jsonl by how a file begins, or return `kind`: many `.json` files hold one object per line."""
    try:
        texts = (line.strip() for _, line in lines(file, key))
        first, second = [*islice(filter(None, texts), 2), "", ""][:2]
    except UserError:  # the format's reader will raise it again
        return kind
    if kind in ("json", "jsonl") and re.match(r"\[\s*(\{|$)", first):
        return "json"
    if kind == "jsonl" or not first.startswith("{") or (kind == "json" and not second):
        return kind
    try:
        return "jsonl" if isinstance(loads(first), dict) else kind
    except ValueError:
        return kind


def _jsonl(file: Path, spec: CorpusSpec, key: str) -> Rows:
    for number, line in lines(file, key):
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
        rows = loads("".join(_bounded(file, key)))
    except ValueError as error:
        raise UserError(f"{key}.path={file}: not JSON ({brief(error)})") from None
    if not isinstance(rows, list):
        raise UserError(f"{key}.path={file}: expected a list of objects, got {type(rows).__name__}")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise UserError(f"{key}.path={file}: item {number} is a {type(row).__name__}, not an object")
        yield f"{file}: item {number}", row


def _bounded(file: Path, key: str) -> Iterator[str]:
    total = 0
    for _, line in lines(file, key):
        total += len(line)
        if total > LARGEST:
            raise UserError(
                f"{key}.path={file}: a JSON list of more than {LARGEST >> 30} GiB; write one object per line instead"
            )
        yield line


def _table(delimiter: str) -> Callable[[Path, CorpusSpec, str], Rows]:
    def rows(file: Path, spec: CorpusSpec, key: str) -> Rows:
        quoted = delimiter == "," or _quotes_cells(file, key)
        reader = _reader(file, key, delimiter, quoted)
        header: list[str] = []
        number = 0  # the last line that was read completely
        try:
            for cells in reader:
                number = reader.line_num
                if not header:
                    header = _header(cells, f"{key}.path={file}: line {number}") if cells else []
                elif cells and len(cells) != len(header):
                    count = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
                    raise UserError(
                        f"{key}.path={file}: line {number} has {count}, the header has {len(header)}"
                    )
                elif cells:
                    yield f"{file}: line {number}", dict(zip(header, cells, strict=True))
        except csv.Error as error:
            raise UserError(f"{key}.path={file}: line {number}: {error}") from None

    return rows


def _cells(file: Path, key: str) -> Iterator[list[str]]:
    """Read the rows of a CSV that are not empty."""
    reader = _reader(file, key, ",", quoted=True)
    try:
        yield from filter(None, reader)
    except csv.Error as error:
        raise UserError(f"{key}.path={file}: line {reader.line_num}: {error}") from None


def _questions(file: Path, spec: CorpusSpec, key: str) -> Rows:
    for number, cells in enumerate(_cells(file, key), 1):
        row = question_row(cells)
        if row is None:
            raise UserError(
                f"{key}.path={file}: row {number} has {len(cells)} cells; expected a question, its choices and the "
                "letter of the right one"
            )
        yield f"{file}: row {number}", row


def _reader(file: Path, key: str, delimiter: str, quoted: bool) -> Any:
    texts = (line for _, line in lines(file, key))
    if not quoted:
        return csv.reader(texts, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    # Strict, or an unclosed quote would swallow the rest of the file.
    return csv.reader(texts, delimiter=delimiter, strict=True)


def _quotes_cells(file: Path, key: str) -> bool:
    """Return whether quotes in a TSV enclose cells, as a spreadsheet writes them, or are part of the text.

    They are text if every row then has as many cells as the header; else they enclose cells, if that makes the rows
    equal. ParaDetox needs this: a few of its cells hold a line break.
    """
    for quoted in (False, True):
        with suppress(csv.Error):
            if len({len(cells) for cells in _reader(file, key, "\t", quoted) if cells}) == 1:
                return quoted
    return False


def _header(cells: list[str], at: str) -> list[str]:
    """Check that column names are unique and not empty."""
    for name, count in Counter(cells).items():
        if count > 1 and name.strip():
            raise UserError(f"{at}: the header names {count} columns '{name}'")
    for place, name in enumerate(cells, 1):
        if not name.strip():
            raise UserError(f"{at}: column {place} of the header has no name")
    return cells


def _text(file: Path, spec: CorpusSpec, key: str) -> Rows:
    # A line is a paragraph, as in wikitext; headings are not texts.
    for number, line in lines(file, key):
        if line.strip() and not HEADING.match(line):
            yield f"{file}: line {number}", {spec.field: line.strip()}


def _parquet(file: Path, spec: CorpusSpec, key: str) -> Rows:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        number = 0
        for batch in ParquetFile(file).iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield f"{file}: row {number}", row
    except (ArrowException, OSError, ValueError, OverflowError) as error:
        raise UserError(f"{key}.path={file}: not a readable parquet file ({brief(error)})") from None


READERS: dict[str, Callable[[Path, CorpusSpec, str], Rows]] = {
    "jsonl": _jsonl,
    "json": _json,
    "tsv": _table("\t"),
    "csv": _table(","),
    "questions": _questions,
    "text": _text,
    "parquet": _parquet,
}
