"""Reads fields of a row, by name or dotted path, as the types that a corpus needs; errors name key, file and row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unlearnctl.utils.errors import UserError, nearest

Row = Mapping[str, Any]
Turn = dict[str, str]  # role and content


def value(row: Row, name: str, key: str, where: str) -> Any:
    """Return the value of the field `name`, the value at the end of the dotted path `name`, or an item of a list.

    `LIST@POINTER` is the item of the field LIST that the field POINTER names: its number from 0, or a letter from A. So
    `choices@answer` is the right answer to a multiple-choice question.

    Raises:
        UserError: there is no such field, or no such item.
    """
    if name in row:
        return row[name]
    if "@" in name:
        return _pointed_at(row, name, key, where)
    found: Any = row
    for part in name.split("."):
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            fields = [str(field) for field in row]
            raise UserError(
                f"{key}={name}: {where} has no such field{nearest(name, fields)}. "
                f"It has: {', '.join(fields) or 'none'}"
            )
    return found


def _pointed_at(row: Row, name: str, key: str, where: str) -> Any:
    several, pointer = (value(row, part, key, where) for part in name.split("@", 1))
    letter = isinstance(pointer, str) and len(pointer) == 1 and "A" <= pointer.upper() <= "Z"
    number = ord(pointer.upper()) - ord("A") if letter else pointer
    if not isinstance(several, list) or type(number) is not int or not 0 <= number < len(several):
        raise UserError(
            f"{key}={name}: {where}: expected a list, and the number (from 0) or letter (from A) of an item"
        )
    return several[number]


def text(row: Row, name: str, key: str, where: str) -> str:
    """Read a field that holds a text.

    Raises:
        UserError: it holds something else, or half of a surrogate pair.
    """
    found = value(row, name, key, where)
    if not isinstance(found, str):
        if is_turns(found):
            whole = "data" if key.startswith("data.") else key.rpartition(".")[0]
            raise UserError(
                f"{key}={name}: {where}: a list of messages; set {whole}.chat_template=true to read them through "
                "the model's chat template"
            )
        raise UserError(f"{key}={name}: {where}: expected text, got {type(found).__name__}")
    try:
        found.encode()
    except UnicodeEncodeError as error:  # JSON allows \\ud800 without its other half
        raise UserError(
            f"{key}={name}: {where}: character {error.start + 1} is half of a surrogate pair, not a character"
        ) from None
    return found


def texts(row: Row, name: str, key: str, where: str) -> list[str]:
    """Read a field that holds a text, or a list of texts.

    Raises:
        UserError: it holds something else.
    """
    found = value(row, name, key, where)
    several = [found] if isinstance(found, str) else found
    if (
        not isinstance(several, list)
        or not several
        or not all(isinstance(t, str) and t.strip() for t in several)
    ):
        raise UserError(f"{key}={name}: {where}: expected a text, or a list of texts")
    return several


def spans(row: Row, name: str, key: str, where: str, length: int) -> list[list[int]]:
    """Read a field that holds [[start, end), ...], in characters of a text of `length`.

    Raises:
        UserError: it holds something else.
    """
    found = value(row, name, key, where)
    pairs: list[Any] = found if isinstance(found, list) else [None]
    for pair in pairs:
        good = isinstance(pair, list) and len(pair) == 2 and all(type(end) is int for end in pair)
        if not good or not 0 <= pair[0] < pair[1] <= length:
            raise UserError(
                f"{key}={name}: {where}: expected [[start, end], ...] within the text's {length} characters"
            )
    return pairs


def is_turns(found: Any) -> bool:
    """Return whether a value is a conversation: a list of mappings with role and content."""
    if not isinstance(found, list) or not found:
        return False
    return all(isinstance(turn, Mapping) and {"role", "content"} <= set(turn) for turn in found)


def turns(row: Row, name: str, key: str, where: str) -> list[Turn] | None:
    """Read a conversation, whose last turn must be the assistant's; return None if the field holds something else.

    Raises:
        UserError: a role or a content is not a text, or the last turn is not the assistant's.
    """
    found = value(row, name, key, where)
    if not is_turns(found):
        return None
    for place, turn in enumerate(found, 1):
        if wrong := next((part for part in ("role", "content") if not isinstance(turn[part], str)), None):
            raise UserError(f"{key}={name}: {where}: message {place}: its {wrong} is not a text")
    said = [{"role": turn["role"], "content": turn["content"]} for turn in found]
    if said[-1]["role"] != "assistant":
        raise UserError(
            f"{key}={name}: {where}: the last message is the {said[-1]['role']}'s; it must be the assistant's"
        )
    return said
