"""Describe a table as conf/table/NAME.yaml does: its runs, its columns, and what others have published."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MinLen

OF = "of="  # marks, among the overrides, the key of the run that this one works on


@dataclass(frozen=True)
class Step:
    """One run behind a row: a verb with its overrides, and the step whose result it works on, if any."""

    name: str
    verb: str
    overrides: tuple[str, ...]
    of: str | None = None


@dataclass(frozen=True)
class Row:
    """A line of the table; without steps it shows the untouched model."""

    name: str
    steps: tuple[Step, ...] = ()
    reading: bool = False  # the method is our reading of its paper
    series: str | None = None  # in a sweep, the name of the row without its value
    x: float | None = None


@dataclass(frozen=True)
class Column:
    """A `metric` (suite/name) of a step's results, by default those after the last step."""

    title: str
    metric: str
    goal: Literal["lower", "higher", "none"] = "none"
    step: str | None = None
    part: Literal["before", "after", "worst"] = (
        "after"  # worst: the worst variant of the attack named by `attack`
    )
    attack: str | None = None
    decimals: Annotated[int, Ge(0), Le(15)] | None = 3  # None: three significant digits, for p-values
    scale: float = 1.0  # of the printed number, such as 100 for per cent


@dataclass(frozen=True)
class Published:
    """A value that others have published for a cell."""

    row: str
    model: str
    column: str
    value: float
    source: str
    tolerance: float | None = None  # how far from it still counts as the same


@dataclass(frozen=True)
class Scale:
    """The runs and columns of a table at one scale, as its file has them."""

    models: Annotated[list[str], MinLen(1)]
    seeds: Annotated[list[int], MinLen(1)]
    columns: Annotated[list[Any], MinLen(1)]
    common: Mapping[str, list[str] | None] = field(default_factory=dict)
    without: list[str] = field(default_factory=list)  # rows left out
    evaluated_tokens: float = 0.0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class TableFile:
    """`conf/table/NAME.yaml`."""

    title: str
    about: str
    scales: Mapping[Any, Any]
    rows: Mapping[Any, Any]
    published: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    x: str | None = None


@dataclass(frozen=True)
class Member:
    """One run of one row on one model with one seed."""

    model: str
    seed: int
    row: str
    step: Step
    overrides: tuple[str, ...]

    @property
    def key(self) -> str:
        """Identify the run, whatever a table calls it, so that rows and tables share equal runs."""
        chain = json.dumps([self.step.verb, self.model, self.seed, sorted(self.overrides)])
        return hashlib.sha256(chain.encode()).hexdigest()[:10]

    @property
    def run(self) -> str:
        """Name the directory of the run."""
        row = re.sub(r"[^A-Za-z0-9_]+", "_", self.row)
        return f"{self.model}-{row}-{self.step.name}-seed{self.seed}-{self.key}"

    @property
    def base(self) -> str | None:
        """Return the key of the run that this one works on, if any."""
        return next((o.removeprefix(OF) for o in self.overrides if o.startswith(OF)), None)

    @property
    def settings(self) -> list[str]:
        """Return the overrides as Hydra takes them."""
        return [o for o in self.overrides if not o.startswith(OF)]


@dataclass(frozen=True)
class TableSpec:
    """A table at one scale."""

    name: str
    scale: str
    title: str
    about: str
    models: tuple[str, ...]
    seeds: tuple[int, ...]
    common: Mapping[str, Sequence[str]]  # verb, or name of a step → overrides of every such member
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    published: tuple[Published, ...] = ()
    evaluated_tokens: float = 0.0  # of one model, by the suites, for the plan
    notes: tuple[str, ...] = field(default_factory=tuple)
    x: str | None = None  # the setting in which the rows of a sweep differ, for the plot
    command: str = ""  # the command that makes the table

    def members(self) -> Iterator[Member]:
        """List every run once, each after the one that it works on."""
        seen = set()
        for model in self.models:
            for seed in self.seeds:
                for row in self.rows:
                    for step in row.steps:
                        member = self.member(model, seed, row, step)
                        if member.key not in seen:
                            seen.add(member.key)
                            yield member

    def member(self, model: str, seed: int, row: Row, step: Step) -> Member:
        """Return the run behind a step; its identity includes the overrides of the run that it works on."""
        shared = dict.fromkeys((step.verb, step.name))  # once, if they are equal
        own = (*(o for name in shared for o in self.common.get(name, ())), *step.overrides)
        if step.of is None:
            same = (step.verb, step.name, step.overrides)
            first = next(r for r in self.rows for s in r.steps if (s.verb, s.name, s.overrides) == same)
            return Member(model, seed, first.name, step, own)
        base = self.member(model, seed, row, next(s for s in row.steps if s.name == step.of))
        return Member(model, seed, row.name, step, (*own, f"{OF}{base.key}"))
