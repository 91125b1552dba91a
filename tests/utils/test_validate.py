"""Annotations say what a config may hold: the messages, the strictness, and settings made from mappings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
import torch
from annotated_types import Ge, Gt, Le, Len, Lt, MinLen
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from unlearnctl.utils.errors import UserError
from unlearnctl.utils.validate import check_value, check_values, checked, read

Width = Annotated[int, Ge(2), Le(16)]


@pytest.mark.parametrize(
    ("wanted", "value", "line"),
    [
        (PositiveInt, 0, "k=0: must be a whole number, 1 or more"),
        (NonNegativeInt, 1.5, "k=1.5: must be a whole number, 0 or more"),
        (PositiveInt, True, "k=true: must be a whole number, 1 or more"),
        (PositiveInt, "3", "k=3: must be a whole number, 1 or more"),
        (PositiveFloat | None, -1, "k=-1: must be a positive number or null"),
        (float, float("nan"), "k=nan: must be a finite number"),
        (float, True, "k=true: must be a number"),
        (Annotated[NonNegativeFloat, "seconds"], -1, "k=-1: must be a number of seconds, 0 or more"),
        (Annotated[int, "tokens", Ge(2)] | None, 1, "k=1: must be a whole number of tokens, 2 or more, or null"),
        (Annotated[float, Gt(0), Le(1)], 0.0, "k=0.0: must be a number, above 0 and at most 1"),
        (Literal["const", "cosine"], "cosin", "k=cosin: unknown (did you mean 'cosine'?). Allowed: const, cosine"),
        (Literal["cpu", "cuda"] | None, "gpu", "k=gpu: unknown (did you mean 'cpu'?). Allowed: cpu, cuda, null"),
        (bool | Literal["auto"], "some", "k=some: unknown. Allowed: auto, false, true"),
        (Sequence[Literal["a", "b"]], ["a", "x"], "k=x: unknown. Allowed: a, b"),
        (Sequence[str], "abc", "k=abc: must be a list of texts"),
        (int | list[int], [1, "x"], "k=[1, 'x']: must be a whole number or a list of whole numbers"),
        (list[Width], [40], "k=[40]: must be a list of whole numbers, each 2 to 16"),
        (Annotated[list[str], MinLen(1)] | None, [], "k=[]: must be a list of texts, not empty, or null"),
        (Annotated[list[Annotated[float, Ge(0), Lt(1)]], Len(2, 2)], [0.5],
         "k=[0.5]: must be a list of 2 numbers, each 0 or more and below 1"),
        (tuple[float | torch.Tensor, float | torch.Tensor], [0.9], "k=[0.9]: must be a list of 2 numbers"),
        (Mapping[str, str], {"a": 3}, "k={'a': 3}: must be a mapping of names to texts"),
        (Mapping[str, PositiveFloat], {"a": 0}, "k={'a': 0}: must be a mapping of names to numbers, each above 0"),
        (torch.nn.Module, 5, "k=5: must be a mapping with _target_"),
        (str | int | float, [1], "k=[1]: must be text"),
        (int, "x" * 999, f"k={'x' * 100}…: must be a whole number"),
    ],
)  # fmt: skip
def test_what_an_annotation_refuses(wanted: Any, value: object, line: str) -> None:
    with pytest.raises(UserError) as caught:
        check_value("k", value, wanted)
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        (float, 3),
        (PositiveFloat | None, None),
        (bool | Literal["auto"], True),
        (tuple[float, float], [0.9, 1]),
        (Sequence[str], ("a", "b")),
        (int | list[int], [1, 2]),
        (str | int | float, 1),
        (torch.nn.Module, torch.nn.ReLU()),
        (Any, object()),
    ],
)
def test_what_an_annotation_allows(wanted: Any, value: object) -> None:
    check_value("k", value, wanted)


@dataclass(frozen=True)
class Inner:
    every: NonNegativeInt = 0


@dataclass(frozen=True)
class Outer:
    steps: PositiveInt
    inner: Inner = field(default_factory=Inner)
    other: Inner | None = None


def test_nested_settings_are_made() -> None:
    assert read(Outer, "o", {"steps": 2}) == Outer(2)
    assert read(Outer, "o", {"steps": 2, "inner": {"every": 3}, "other": {}}) == Outer(2, Inner(3), Inner())
    assert read(Outer, "o", {"steps": 2, "other": None}).other is None


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (5, "o=5: must be a mapping of settings"),
        ({}, "o.steps: required"),
        ({"stps": 1}, "o.stps: unknown key (did you mean 'steps'?). Allowed: inner, other, steps"),
        ({"steps": 1, "inner": None}, "o.inner=null: must be a mapping"),
        ({"steps": 1, "other": 3}, "o.other=3: must be a mapping or null"),
        ({"steps": 1, "inner": {"evry": 1}}, "o.inner.evry: unknown key (did you mean 'every'?). Allowed: every"),
        ({"steps": 1, "other": {"every": -1}}, "o.other.every=-1: must be a whole number, 0 or more"),
    ],
)  # fmt: skip
def test_what_settings_refuse(values: object, line: str) -> None:
    with pytest.raises(UserError) as caught:
        read(Outer, "o", values)
    assert str(caught.value) == line


def test_a_name_for_type_checkers_alone_leaves_a_plugin_unchecked() -> None:
    def plugin(a: Unknown) -> None: ...  # type: ignore[name-defined]

    check_values("k", {"a": 3}, plugin)


def test_a_checked_constructor_refuses_by_the_class_that_is_made() -> None:
    class Base:
        @checked
        def __init__(self, width: PositiveInt, *rest: int, **named: float) -> None:
            self.given = (width, rest, named)

    class Derived(Base): ...

    assert Derived(2, 3, a=0.5).given == (2, (3,), {"a": 0.5})
    with pytest.raises(UserError, match=r"^Derived\.width=0: must be a whole number, 1 or more$"):
        Derived(0)
