"""Reads a corpus: selects its rows and takes their texts; errors name the file and the row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from unlearnctl.data import fields
from unlearnctl.data.fields import Row, Turn
from unlearnctl.data.sources import rows_of
from unlearnctl.data.spec import CorpusSpec
from unlearnctl.data.text_store import Progress, TextStore, in_chunks
from unlearnctl.utils.errors import UserError


@dataclass(frozen=True)
class Read:
    """The number of rows read, and the numbers left out."""

    rows: int = 0
    where: int = 0  # left out, because `where` asks for other values
    short: int = 0  # left out, because empty or shorter than `min_chars`


@dataclass(frozen=True)
class Corpus:
    """The texts of a corpus in order, and whatever else its rows hold."""

    texts: Sequence[str]
    prompts: Sequence[str] | None = None  # what precedes the text, and does not count in the loss
    alternates: list[list[str]] | None = None  # what should be said instead, one text or several per row
    spans: list[list[list[int]]] | None = None  # [start, end) of the characters that matter
    turns: list[list[Turn]] | None = None  # conversations: the turns before the text
    read: Read = field(default=Read(), compare=False)

    @property
    def large(self) -> bool:
        """Return whether the texts are on disk."""
        return isinstance(self.texts, TextStore) and self.texts.large

    def content(self) -> Iterator[str]:
        """Yield, in parts, JSON of everything that decides the rows.

        Its hash identifies the data in records and caches of older versions too, so `turns`, which was added later,
        appears only in corpora that have them.
        """
        for name in ("texts", "prompts", "alternates", "spans", *(["turns"] if self.turns else [])):
            yield f'{"{" if name == "texts" else ", "}"{name}": '
            column = getattr(self, name)
            if column is None:
                yield "null"
                continue
            if isinstance(column, TextStore) and column.large:
                yield f'"{column.digest}"'
                continue
            for place, chunk in enumerate(in_chunks(column)):
                yield ("[" if place == 0 else ", ") + json.dumps(list(chunk))[1:-1]
            yield "]" if column else "[]"
        yield "}"


def read_corpus(spec: CorpusSpec, key: str) -> Corpus:
    """Read all texts of one corpus.

    Raises:
        UserError: the corpus is missing, empty, damaged or not UTF-8, a field is absent or not text, or a hub
            repository cannot be read. The message names `key` and, for a file, the row.
    """
    columns = _Columns(spec, key)
    rows = where = short = 0
    progress = Progress(f"{key}: {{count}} rows read")
    for place, row in rows_of(spec, key):
        rows += 1
        if not rows % 1024:
            progress.at(rows)
        if not _is_wanted(row, spec, key, place):
            where += 1
        elif not columns.add(row, place):
            short += 1
        elif spec.limit is not None and len(columns.texts) >= spec.limit:
            break
    if not columns.texts and columns.seen:
        raise UserError(f"{key}.skip={spec.skip}: {spec.shown} has {columns.seen} texts, so none is left")
    if not columns.texts:
        raise UserError(f"{key}.path={spec.shown}: empty: no text of at least {spec.min_chars} characters")
    return columns.corpus(Read(rows, where, short))


def _is_wanted(row: Row, spec: CorpusSpec, key: str, place: str) -> bool:
    return all(fields.value(row, name, f"{key}.where", place) in kept for name, kept in spec.where or ())


class _Columns:
    """The columns of a corpus while it is read."""

    def __init__(self, spec: CorpusSpec, key: str) -> None:
        self.spec, self.key = spec, key
        self.texts, self.prompts = TextStore(), TextStore()
        self.alternates: list[list[str]] = []
        self.spans: list[list[list[int]]] = []
        self.turns: list[list[Turn]] = []
        self.seen = 0  # texts that are long enough

    def add(self, row: Row, place: str) -> bool:
        """Take the configured fields of a row; return False if its text is too short."""
        spec, key = self.spec, self.key
        said = fields.turns(row, spec.field, f"{key}.field", place) if spec.chat_template else None
        text = said[-1]["content"] if said else fields.text(row, spec.field, f"{key}.field", place)
        if len(text.strip()) < max(1, spec.min_chars):
            return False
        self.seen += 1
        past = self.seen - 1 - spec.skip
        if past < 0 or past % spec.every:
            return True
        self.texts.append(text)
        prompt = None
        if spec.prompt_field is not None:
            prompt = fields.text(row, spec.prompt_field, f"{key}.prompt_field", place)
        if said:
            self.turns.append(said[:-1])
        elif spec.chat_template and prompt is not None:
            self.turns.append([{"role": "user", "content": prompt}])
        elif prompt is not None:
            self.prompts.append(prompt)
        if spec.alternate_field is not None:
            self.alternates.append(fields.texts(row, spec.alternate_field, f"{key}.alternate_field", place))
        if spec.spans_field is not None:
            self.spans.append(fields.spans(row, spec.spans_field, f"{key}.spans_field", place, len(text)))
        if self.turns and len(self.turns) != len(self.texts):
            raise UserError(f"{key}.field={spec.field}: {place}: messages in some rows, text in others")
        return True

    def corpus(self, read: Read) -> Corpus:
        """Return the corpus; columns that no row had are None."""
        return Corpus(
            self.texts,
            self.prompts or None,
            self.alternates or None,
            self.spans or None,
            self.turns or None,
            read,
        )
