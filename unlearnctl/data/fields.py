"""Fields of a row: by name or dotted path, each of the kind that a corpus needs; mistakes name key, file and row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unlearnctl.utils.errors import UserError, nearest

Row = Mapping[str, Any]
Turn = dict[str, str]  # role and content


def value(row: Row, name: str, key: str, where: str) -> Any:
    """What stands in the field `name`, or at the end of the dotted path `name`.

    Raises:
        UserError: there is no such field.
    """
    if name in row:
        return row[name]
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


def text(row: Row, name: str, key: str, where: str) -> str:
    """A field that holds a text.

    Raises:
        UserError: it holds something else, or half of a character.
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
    except UnicodeEncodeError as error:  # JSON's \\ud800 alone
        raise UserError(
            f"{key}={name}: {where}: character {error.start + 1} is half of a character"
        ) from None
    return found


def texts(row: Row, name: str, key: str, where: str) -> list[str]:
    """A field that holds a text, or several.

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
    """A field that holds [[start, end), ...] in characters of a text of `length`.

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
    """Whether it is a conversation: a list of mappings with role and content."""
    return (
        isinstance(found, list)
        and bool(found)
        and all(isinstance(turn, Mapping) and {"role", "content"} <= set(turn) for turn in found)
    )


def turns(row: Row, name: str, key: str, where: str) -> list[Turn] | None:
    """The conversation in a field, which ends with the assistant's turn; None if the field holds none.

    Raises:
        UserError: a role or content that is no text, or a last turn that is not the assistant's.
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
            f"{key}={name}: {where}: the last message is the {said[-1]['role']}'s; what is read is the assistant's"
        )
    return said
