"""Write text and tables in Markdown that show any content as it is."""

from __future__ import annotations

from collections.abc import Sequence

from unlearnctl.utils import numbers


def escape(text: object) -> str:
    """Escape text, HTML included, for one table cell."""
    plain = numbers.plain(text).replace("&", "&amp;").replace("<", "&lt;").replace("\\", "\\\\")
    for char in "|`*[]":
        plain = plain.replace(char, f"\\{char}")
    return plain


def code(text: object) -> str:
    """Write a code span; its fence is longer than any run of backticks inside."""
    plain = numbers.plain(text)
    fence = "`" * (max((len(run) for run in _runs(plain)), default=0) + 1)
    space = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{space}{plain}{space}{fence}"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return the lines of a table, every cell escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(escape(entry) for entry in line)} |" for line in lines]


def _runs(text: str) -> list[str]:
    return "".join(char if char == "`" else " " for char in text).split()
