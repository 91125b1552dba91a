"""Check config values against type annotations; a refusal is one line with the key, the value and what is allowed.

pydantic does the checking, in its strict mode: "3" is no number and true is no 1. An annotation says everything,
ranges included, so the settings classes and the constructors that configs name need no checks of their own:

    steps: PositiveInt                               must be a whole number, 1 or more
    clip_norm: PositiveFloat | None                  must be a positive number or null
    schedule: Literal["constant", "linear"]          unknown (did you mean 'linear'?). Allowed: constant, linear
    every: Annotated[NonNegativeFloat, "seconds"]    must be a number of seconds, 0 or more
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, Strict, TypeAdapter, ValidationError

from unlearnctl.utils.describe import describe, members, split, written
from unlearnctl.utils.errors import UserError, unknown, unknown_key

Settings = TypeVar("Settings")
STRICT = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)


def read(settings: type[Settings], key: str, values: object) -> Settings:
    """Build a dataclass of settings, nested ones included, from the mapping at `key`.

    Args:
        settings: the dataclass; its fields are the allowed keys, and those without a default are required.
        key: where the values are in the config; empty for a whole config.
        values: the values found there.

    Raises:
        UserError: an unknown key, a value that its annotation does not allow, a required key left out.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"{key}={written(values)}: must be a mapping of settings")
    check_names(key, values, settings)
    check_values(key, values, settings)
    check_present(key, values, settings)
    nested = {
        name: read(inner, at(key, name), values[name])
        for name, inner in _nested(settings)
        if isinstance(values.get(name), Mapping)
    }
    return settings(**{**values, **nested})


def check_names(key: str, given: Iterable[object], settings: Any) -> None:
    """Refuse a name that is not a field of the settings."""
    names = [each.name for each in fields(settings)]
    for name in given:
        if name not in names:
            raise unknown_key(key, name, names)


def check_present(key: str, given: Container[str], settings: Any) -> None:
    """Refuse settings that leave out a field without a default."""
    for each in fields(settings):
        if each.name not in given and each.default is MISSING and each.default_factory is MISSING:
            raise UserError(f"{at(key, each.name)}: required")


def check_values(key: str, values: Mapping[str, Any], annotated: Any) -> None:
    """Refuse a value that the annotations of a class or function do not allow; ignore names without annotations."""
    for name, wanted in _hints(annotated).items():
        if name in values:
            check_value(at(key, name), values[name], wanted)


def check_value(key: str, value: object, wanted: Any) -> None:
    """Refuse `value` unless the type annotation `wanted` allows it.

    Raises:
        UserError: `key=value: must be …`, or the names to choose from with the nearest one.
    """
    allowed = describe(wanted)
    if allowed is None:
        return
    try:
        TypeAdapter(_for_config(wanted), config=STRICT).validate_python(value)
    except ValidationError as error:
        kinds = {each["type"] for each in error.errors(include_url=False, include_input=False)}
        allowed = "a finite number" if "finite_number" in kinds else allowed
        raise _refusal(key, value, wanted, allowed) from None


def checked(init: Callable[..., None]) -> Callable[..., None]:
    """Return a constructor that refuses what its annotations do not allow, and is otherwise `init`.

    For classes that people also make from Python, where no config is checked; the key is then the class's name.
    """
    signature = inspect.signature(init)
    open_ended = {
        p.name for p in signature.parameters.values() if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }

    @wraps(init)
    def refusing(self: object, *args: Any, **kwargs: Any) -> None:
        given = signature.bind(self, *args, **kwargs).arguments
        # `**others: float` annotates each value, but what is bound to the name is all of them.
        one_by_one = {name: value for name, value in given.items() if name not in open_ended}
        check_values(type(self).__name__, one_by_one, init)
        init(self, *args, **kwargs)

    return refusing


def at(key: str, name: object) -> str:
    """Return the key of `name` inside a group, whose own key is empty for the whole config."""
    return f"{key}.{name}" if key else f"{name}"


def _refusal(key: str, value: object, wanted: Any, allowed: str) -> UserError:
    """Return the error for a value: the allowed choices if these have names, otherwise what it must be."""
    if choices := _choices(wanted):
        return unknown(key, written(value), choices)
    base, _ = split(wanted)
    if get_origin(base) in (list, Sequence) and isinstance(value, list):
        choices = _choices(get_args(base)[0])
        for item in value if choices else ():
            if item not in choices:
                return unknown(key, written(item), choices)
    return UserError(f"{key}={written(value)}: must be {allowed}")


def _choices(wanted: Any) -> list[str]:
    """Return the allowed choices, as a config writes them; empty if values other than named ones are allowed."""
    found: list[str] = []
    named = False
    for each in members(wanted):
        if get_origin(each) is Literal:
            named = True
            found += map(str, get_args(each))
        elif each in (bool, NoneType):
            found += ["true", "false"] if each is bool else ["null"]
        else:
            return []
    return found if named else []


def _hints(annotated: Any) -> dict[str, Any]:
    try:
        return get_type_hints(annotated, include_extras=True)
    except NameError:  # a plugin's names, which only type checkers resolve
        return {}


def _nested(settings: Any) -> Iterator[tuple[str, Any]]:
    """Yield the fields that are dataclasses of settings themselves."""
    for name, wanted in _hints(settings).items():
        for each in members(wanted):
            if is_dataclass(each):
                yield name, each


def _for_config(wanted: Any) -> Any:
    """Adapt an annotation to values from YAML, which has lists but no tuples, and mappings but no dataclasses."""
    options = members(wanted)
    if len(options) > 1:
        return Union[tuple(map(_for_config, options))]  # noqa: UP007
    base, limits = split(wanted)
    origin, inside = get_origin(base), get_args(base)
    if is_dataclass(base) or (origin is Mapping and is_dataclass(inside[1])):  # read by whoever asked
        base = Mapping[str, Any]
    if origin in (list, tuple):
        base = Annotated[
            origin[tuple(each if each is ... else _for_config(each) for each in inside)], Strict(False)
        ]
    return Annotated[(base, *limits)] if limits else base
