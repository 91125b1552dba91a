"""Read multiple-choice questions from files whose fields have any names."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from unlearnctl.data.fields import text, texts, value
from unlearnctl.data.sources import rows_of
from unlearnctl.data.spec import CorpusSpec
from unlearnctl.utils.errors import UserError

ANSWERS = ("gold", "answer")  # the field of the answer, unless a config names one
MOST = 26  # choices: they are called by letters


@dataclass(frozen=True)
class Question:
    """A question, its choices, and the place of the right one, counted from 0."""

    text: str
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True)
class QuestionFields:
    """Which fields of a row hold the question, the choices (one field, or one for each) and the answer."""

    question: str = "question"
    choices: str | Sequence[str] = "choices"
    answer: str | None = None


def read_questions(file: str, fields: QuestionFields, key: str, suite: str) -> list[Question]:
    """Read a file of questions: JSONL, JSON, CSV, TSV or parquet.

    Args:
        file: what `path` of a corpus takes.
        fields: of its rows.
        key: config key of the file, and
        suite: of the suite, whose field settings a message may name.

    Raises:
        UserError: no such file, an empty one, or a row that is no question; names the row.
    """
    try:
        found = [_question(row, fields, where, suite) for where, row in rows_of(CorpusSpec(file), key)]
    except UserError as error:  # corpora have a `path` of their own
        raise UserError(str(error).replace(f"{key}.path=", f"{key}=", 1)) from None
    if not found:
        raise UserError(f"{key}={file}: holds no questions")
    return found


def letter(place: int) -> str:
    """Return the letter of a choice: A for the first."""
    return chr(ord("A") + place)


def _question(row: Mapping[str, Any], fields: QuestionFields, where: str, suite: str) -> Question:
    asked = text(row, fields.question, f"{suite}.question_field", where)
    if not asked.strip():
        raise UserError(f"{suite}.question_field={fields.question}: {where}: the question is empty")
    choices = _choices(row, fields.choices, where, f"{suite}.choices_field")
    name = fields.answer or next((known for known in ANSWERS if known in row), ANSWERS[-1])
    key = f"{suite}.answer_field"
    return Question(asked, choices, _place(value(row, name, key, where), choices, f"{key}={name}: {where}"))


def _choices(row: Mapping[str, Any], names: str | Sequence[str], where: str, key: str) -> tuple[str, ...]:
    found = (
        texts(row, names, key, where) if isinstance(names, str) else [text(row, n, key, where) for n in names]
    )
    if not 2 <= len(found) <= MOST or not all(choice.strip() for choice in found):
        raise UserError(f"{key}: {where}: choices={found}: must be 2 to {MOST} texts, none of them empty")
    return tuple(found)


def _place(answer: object, choices: Sequence[str], where: str) -> int:
    """Find the choice that an answer means: a number counted from 0, a letter, or the choice's own text.

    A table has no numbers, only texts: one that is a choice *and* the number or letter of another is refused, because
    either reading would give scores.
    """
    places = set()
    if isinstance(answer, int) and not isinstance(answer, bool):
        places = {answer}
    elif isinstance(answer, str):
        said = answer.strip()
        places = {place for place, choice in enumerate(choices) if choice.strip() == said}
        places |= {int(said)} if said.isdecimal() else set()
        places |= {place for place in range(len(choices)) if letter(place) == said.upper()}
    if len(places) > 1:
        raise UserError(f"{where}: answer={answer!r} could mean several of the choices {list(choices)}")
    if not places or not 0 <= min(places) < len(choices):
        letters = f"{letter(0)} to {letter(len(choices) - 1)}"
        raise UserError(
            f"{where}: answer={answer!r}: must be 0 to {len(choices) - 1}, {letters}, or the text of a choice"
        )
    return places.pop()


def swap(questions: Sequence[Question]) -> list[Question]:
    """Give each question the text of the one before it in an order drawn with seed 0, and leave it its choices."""
    order = random.Random(0).sample(range(len(questions)), len(questions))
    before = dict(zip(order, [order[-1], *order[:-1]], strict=True))
    return [replace(each, text=questions[before[place]].text) for place, each in enumerate(questions)]
