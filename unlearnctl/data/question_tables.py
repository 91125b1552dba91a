"""Tables of multiple-choice questions without a header, as MMLU's authors publish them: question, choices, letter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def is_question(cells: Sequence[str]) -> bool:
    """Return whether a table's first row is a question, not a header: its last cell, and no other, names a choice."""
    letters = _letters(cells)
    return len(letters) > 1 and [c.strip() in letters for c in cells] == [False] * (len(cells) - 1) + [True]


def question_row(cells: Sequence[str]) -> dict[str, Any] | None:
    """Return `question`, `choices` and `answer` (counted from 0) of a row, or None if it is not of that form."""
    letters, right = _letters(cells), cells[-1].strip()
    if len(letters) < 2 or right not in letters:
        return None
    return {"question": cells[0], "choices": list(cells[1:-1]), "answer": letters.index(right)}


def _letters(cells: Sequence[str]) -> list[str]:
    return [chr(ord("A") + place) for place in range(len(cells) - 2)]
