"""Describe a table as conf/table/NAME.yaml does: its runs, its columns, and what others have published."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
    goal: str = "none"
    step: str | None = None
    part: str = "after"  # worst: the worst variant of the attack named by `attack`
    attack: str | None = None
    decimals: int | None = 3  # None: three significant digits, for p-values
    scale: float = 1.0  # of the printed number, such as 100 for per cent


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
    published: tuple[Mapping[str, Any], ...] = ()
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
