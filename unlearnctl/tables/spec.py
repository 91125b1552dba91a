"""Describe a table as conf/table/NAME.yaml does: its runs, its columns, and what others have published."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MinLen

ROOT = "$ROOT"  # stands for the folder of the runs
MADE = f"{ROOT}/models"  # of the models that are made first
PATH = "model.path="
OF = "of="  # marks, among the overrides, the key of the run that this one works on


@dataclass(frozen=True)
class Step:
    """One run behind a row: a verb with its overrides, and the step whose result it works on, if any."""

    name: str
    verb: str
    overrides: tuple[str, ...]
    of: str | None = None
    made: bool = False  # a model that others work on: made with seed 0, for all seeds, and exported


@dataclass(frozen=True)
class Row:
    """A line of the table; without steps it shows the untouched model."""

    name: str
    steps: tuple[Step, ...] = ()
    reading: bool = False  # the method is our reading of its paper
    series: str | None = None  # in a sweep, the name of the row without its value
    x: float | None = None

    @property
    def method(self) -> bool:
        """Tell whether it shows a method, not a model that the methods start from or are compared with."""
        return bool(self.steps) and not self.steps[-1].made


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
    variant: str | None = None  # instead of the worst: the attack's first variant whose label begins so
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
    # Models made before the rows, by training, for all seeds: name → overrides. $NAME is the folder of one.
    made: Mapping[str, list[str]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)  # of one core for a run, by verb or step
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
    made: tuple[Step, ...] = ()  # models made before the rows
    seconds: Mapping[str, float] = field(default_factory=dict)  # of one core for a run, by verb or step
    notes: tuple[str, ...] = field(default_factory=tuple)
    x: str | None = None  # the setting in which the rows of a sweep differ, for the plot
    command: str = ""  # the command that makes the table

    def members(self) -> Iterator[Member]:
        """List every run once, each after the one that it works on."""
        seen = set()
        for member in (*self._made_first(), *self._of_rows()):
            if member.key not in seen:
                seen.add(member.key)
                yield member

    def _made_first(self) -> Iterator[Member]:
        for model in self.models:
            for step in self.made:
                yield self._maker(model, step)

    def _of_rows(self) -> Iterator[Member]:
        for model in self.models:
            for seed in self.seeds:
                for row in self.rows:
                    for step in row.steps:
                        yield self.member(model, seed, row, step)

    def member(self, model: str, seed: int, row: Row, step: Step) -> Member:
        """Return the run behind a step; its identity includes the overrides of the run that it works on."""
        if step.made:
            return self._maker(model, step)
        shared = dict.fromkeys((step.verb, step.name))  # once, if they are equal
        own = (*(o for name in shared for o in self.common.get(name, ())), *step.overrides)
        own = tuple(self._with_made(model, override) for override in own)
        if step.of is None:
            same = (step.verb, step.name, step.overrides)
            first = next(r for r in self.rows for s in r.steps if (s.verb, s.name, s.overrides) == same)
            return Member(model, seed, first.name, step, own)
        base = self.member(model, seed, row, next(s for s in row.steps if s.name == step.of))
        where = (each for each in base.overrides if each.startswith(PATH))
        return Member(model, seed, row.name, step, (*own, *where, f"{OF}{base.key}"))

    def _maker(self, model: str, step: Step) -> Member:
        return Member(model, 0, step.name, step, step.overrides)

    def _with_made(self, model: str, override: str) -> str:
        """Put the folder of a made model, which its run's key names, in the place of `$NAME`."""
        for step in self.made:
            folder = f"{MADE}/{self._maker(model, step).key}"
            override = re.sub(rf"\${re.escape(step.name)}\b", folder, override)
        return override
