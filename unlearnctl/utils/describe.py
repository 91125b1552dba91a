"""Say in words what a type annotation allows, for messages: `a whole number, 1 or more, or null`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

SCALARS = {bool: "true or false", str: "text", NoneType: "null"}
PLURALS = {int: "whole numbers", float: "numbers", str: "texts", bool: "true or false"}
LONGEST = 100  # characters of a value in a message


def describe(wanted: Any) -> str | None:
    """Describe what an annotation allows; None for types that no config can hold, which are not checked."""
    if len(members(wanted)) > 1:
        return _union(members(wanted))
    base, limits = split(wanted)
    origin, inside = get_origin(base), get_args(base)
    if base in (int, float):
        return _number(base, limits)
    if base in SCALARS:
        return SCALARS[base]
    if origin is Literal:
        return " or ".join(map(written, inside))
    if origin in (list, tuple, Sequence):
        return _list(origin, inside, limits)
    if origin in (dict, Mapping):
        return _mapping(inside[1], limits)
    if isinstance(base, type) and base is not object:
        return "a mapping" if is_dataclass(base) else "a mapping with _target_"
    return None


def members(wanted: Any) -> tuple[Any, ...]:
    """Return the types of a union, or the only type; without tensors, which torch allows beside numbers."""
    if get_origin(wanted) not in (UnionType, Union):
        return (wanted,)
    return tuple(each for each in get_args(wanted) if getattr(each, "__name__", "") != "Tensor")


def split(wanted: Any) -> tuple[Any, tuple[Any, ...]]:
    """Take an annotation apart: the type, and what `Annotated` adds to it."""
    if len(members(wanted)) == 1:
        (wanted,) = members(wanted)
    if get_origin(wanted) is Annotated:
        return get_args(wanted)[0], wanted.__metadata__
    return wanted, ()


def written(value: object) -> str:
    """Write a value as a config has it, cut to what fits into a message."""
    text = str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _union(options: Sequence[Any]) -> str | None:
    if {str, int, float} <= set(options):  # a name like run=1
        options = [each for each in options if each not in (int, float)]
    parts = [describe(each) for each in options]
    if None in parts:
        return None
    known = list(dict.fromkeys(part for part in parts if part))
    items = next((_items(each) for each in options if len(_items(each)) > 1), ())
    if items and set(items) < set(options):  # a layer, or a list of layers
        known[-1] = known[-1].replace(f"each {_union(items)}", "each as above")
    return (", or " if "," in known[0] else " or ").join(known)


def _number(base: Any, limits: Sequence[Any]) -> str:
    bounds = _bounds(base, limits)
    unit = next((f" of {each}" for each in limits if isinstance(each, str)), "")
    if bounds == "above 0":
        return f"a positive number{unit}"
    number = "a whole number" if base is int else "a number"
    return f"{number}{unit}, {bounds}" if bounds else f"{number}{unit}"


def _bounds(base: Any, limits: Sequence[Any]) -> str:
    """Describe a range: `1 or more`, `above 0 and below 1`, `2 to 16`; empty if every number is allowed."""
    least, above, most, below = (_limit(limits, name) for name in ("ge", "gt", "le", "lt"))
    if base is int and above is not None:
        least, above = above + 1, None
    if least is not None and most is not None:
        return f"{least} to {most}"
    said = {"{} or more": least, "above {}": above, "at most {}": most, "below {}": below}
    return " and ".join(words.format(value) for words, value in said.items() if value is not None)


def _mapping(values: Any, limits: Sequence[Any]) -> str:
    base, each = split(values)
    words = f"a mapping of names to {PLURALS[base]}" if base in PLURALS else "a mapping"
    if bounds := _bounds(base, each):
        words = f"{words}, each {bounds}"
    return f"{words}, not empty" if _limit(limits, "min_length") else words


def _list(origin: Any, inside: Sequence[Any], limits: Sequence[Any]) -> str:
    base, each = split(inside[0])
    few, many = _limit(limits, "min_length"), _limit(limits, "max_length")
    if origin is tuple and Ellipsis not in inside:
        few = many = len(inside)
    count = f"{few} " if few and few == many else ""
    items = PLURALS.get(base, "values" if count else "")
    bounds = _bounds(base, each)
    words = f"a list of {count}{items}" if items else "a list"
    if len(members(inside[0])) > 1 and (each_of := describe(inside[0])):
        bounds = each_of
    words = f"{words}, each {bounds}" if bounds else words
    return f"{words}, not empty" if few and not count else words


def _items(wanted: Any) -> tuple[Any, ...]:
    """Return the types that a list may hold; none for what is no list."""
    base, _ = split(wanted)
    return members(get_args(base)[0]) if get_origin(base) in (list, Sequence) else ()


def _limit(limits: Sequence[Any], name: str) -> Any:
    return next((getattr(each, name) for each in limits if hasattr(each, name)), None)
