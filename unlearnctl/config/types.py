"""Values against type annotations: the one check of kinds for every config group."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from unlearnctl.utils.errors import UserError, unknown_key

SCALARS: dict[Any, str] = {
    int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "null",
}  # fmt: skip
PLURALS: dict[Any, str] = {int: "whole numbers", float: "numbers", str: "texts", bool: "true or false"}
OWN_SENTENCE = ("path", "where")  # checked where they are read
AT_LEAST_ONE = ("batch_size", "batch_tokens", "limit", "continuations", "max_new_tokens")


def check_settings(key: str, values: object, dataclass: Any) -> None:
    """Refuse keys that a dataclass does not have, kinds that are not its fields', and fields left out.

    Args:
        key: of the group, empty for a whole config.
        values: what stands there.
        dataclass: its fields are the keys; those with a default may be left out.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"{key}={_shown(values)}: must be a mapping of settings")
    names = [f.name for f in fields(dataclass)]
    for name in values:
        if name not in names:
            raise unknown_key(key, name, names)
    check_kinds(key, values, dataclass)
    check_present(key, values, dataclass)


def check_present(key: str, names: Container[str], dataclass: Any) -> None:
    """Refuse that a field without a default is left out."""
    for each in fields(dataclass):
        if each.name not in names and each.default is MISSING and each.default_factory is MISSING:
            raise UserError(f"{_at(key, each.name)}: required")


def check_kinds(key: str, values: Mapping[str, Any], annotated: Any) -> None:
    """Refuse a value of the wrong kind, going by the annotations of a class or function."""
    try:
        hints = get_type_hints(annotated)
    except NameError:  # a plugin's names for type checkers alone
        return
    for name, wanted in hints.items():
        if name in values and name not in OWN_SENTENCE:
            check_type(_at(key, name), values[name], wanted)
            if name in AT_LEAST_ONE and values[name] is not None and values[name] < 1:
                raise UserError(f"{_at(key, name)}={values[name]}: must be a positive number")


def check_type(key: str, value: object, wanted: Any) -> None:
    """Refuse `value` unless it is of a kind that `wanted`, a type annotation, names."""
    described = _describe(wanted)
    if described is None or _fits(value, wanted):
        return
    if isinstance(value, float) and not math.isfinite(value) and _fits(0.0, wanted):
        described = "a finite number"
    raise UserError(f"{key}={_shown(value)}: must be {described}")


def _describe(wanted: Any) -> str | None:
    """In words; None for what is not checked here."""
    wanted = _of_config(wanted)
    if wanted in SCALARS:
        return SCALARS[wanted]
    if _is_part(wanted):
        return "a mapping with _target_"
    origin, inside = get_origin(wanted), get_args(wanted)
    if origin in (UnionType, Union):
        numbers = (
            (int, float) if {str, int, float} <= set(inside) else ()
        )  # such as run=1: a name like any other
        parts = [_describe(each) for each in inside if each not in numbers]
        return None if None in parts else " or ".join(dict.fromkeys(p for p in parts if p))
    if origin is tuple and Ellipsis not in inside:
        return f"a list of {len(inside)} {PLURALS.get(_of_config(inside[0]), 'values')}"
    if origin in (list, tuple, Sequence):
        return f"a list of {PLURALS[inside[0]]}" if inside[0] in PLURALS else "a list"
    if origin in (dict, Mapping):
        return "a mapping"
    return None


def _is_part(wanted: Any) -> bool:
    """A class of ours whose objects are made from a config node of their own, as an objective's retain term."""
    return isinstance(wanted, type) and wanted.__module__.startswith("unlearnctl.objectives.")


def _of_config(wanted: Any) -> Any:
    """An annotation without what no config can hold: torch's `float | Tensor` is a number there."""
    if get_origin(wanted) not in (UnionType, Union):
        return wanted
    return Union[tuple(each for each in get_args(wanted) if getattr(each, "__name__", "") != "Tensor")]  # noqa: UP007


def _fits(value: object, wanted: Any) -> bool:
    wanted = _of_config(wanted)
    origin, inside = get_origin(wanted), get_args(wanted)
    if wanted is Any or _describe(wanted) is None:
        return True
    if _is_part(wanted):
        return isinstance(value, wanted)
    if origin in (UnionType, Union):
        return any(_fits(value, each) for each in inside)
    if origin is tuple and Ellipsis not in inside:
        whole = isinstance(value, list | tuple) and len(value) == len(inside)
        return whole and all(_fits(v, each) for v, each in zip(value, inside, strict=True))  # type: ignore[call-overload]
    if origin in (list, tuple, Sequence):
        return isinstance(value, list | tuple) and all(_fits(v, inside[0]) for v in value)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            return False
        return all(_fits(k, inside[0]) and _fits(v, inside[1]) for k, v in value.items())
    if wanted in (int, float):
        number = isinstance(value, int if wanted is int else int | float) and not isinstance(value, bool)
        return number and math.isfinite(value)  # type: ignore[arg-type]
    return isinstance(value, wanted)


def _at(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _shown(value: object) -> object:
    return (
        {None: "null", True: "true", False: "false"}[value]
        if value is None or isinstance(value, bool)
        else value
    )
