"""conf/table/NAME.yaml: the runs behind a table, its columns, and what others have published."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unlearnctl.errors import UserError, unknown
from unlearnctl.reporting.tables import check

VERBS = ("train", "repair", "attack")
GOALS = ("lower", "higher", "none")
PARTS = ("before", "after", "worst")


@dataclass(frozen=True)
class Step:
    """One run behind a row: a verb with its overrides, and the step whose result it works on, if any."""

    name: str
    verb: str
    overrides: tuple[str, ...]
    of: str | None = None


@dataclass(frozen=True)
class Row:
    """A line of the table. Without steps it shows the untouched model."""

    name: str
    steps: tuple[Step, ...] = ()
    reading: bool = False  # the method is our reading of its paper


@dataclass(frozen=True)
class Column:
    """`metric` (suite/name) of a step's results, by default those after the last step."""

    title: str
    metric: str
    goal: str = "none"
    step: str | None = None
    part: str = "after"  # worst: the worst variant of the attack named by `attack`
    attack: str | None = None
    decimals: int = 3
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
    def run(self) -> str:
        """Name of its directory: equal for equal runs, so that rows share them."""
        chain = json.dumps([self.step.verb, self.model, self.seed, sorted(self.overrides)])
        short = hashlib.sha256(chain.encode()).hexdigest()[:8]
        row = re.sub(r"[^A-Za-z0-9_]+", "_", self.row)
        return f"{self.model}-{row}-{self.step.name}-seed{self.seed}-{short}"


@dataclass(frozen=True)
class TableSpec:
    """A table at one scale."""

    name: str
    scale: str
    title: str
    about: str
    models: tuple[str, ...]
    seeds: tuple[int, ...]
    common: Mapping[str, Sequence[str]]  # verb → overrides of every member
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    published: tuple[Mapping[str, Any], ...] = ()
    evaluated_tokens: float = 0.0  # of one model, by the suites, for the plan
    notes: tuple[str, ...] = field(default_factory=tuple)

    def members(self) -> Iterator[Member]:
        """Every run, in an order in which each stands after the one that it works on; equal runs once."""
        seen = set()
        for model in self.models:
            for seed in self.seeds:
                for row in self.rows:
                    for step in row.steps:
                        member = self.member(model, seed, row, step)
                        if member.run not in seen:
                            seen.add(member.run)
                            yield member

    def member(self, model: str, seed: int, row: Row, step: Step) -> Member:
        """The run behind a step; what works on another run carries that one's overrides in its identity."""
        own = (*self.common.get(step.verb, ()), *step.overrides)
        if step.of is None:
            first = next(
                r for r in self.rows for s in r.steps if (s.verb, s.overrides) == (step.verb, step.overrides)
            )
            return Member(model, seed, first.name, step, own)
        base = self.member(model, seed, row, next(s for s in row.steps if s.name == step.of))
        return Member(model, seed, row.name, step, (*own, f"of={base.run}"))


def read_table(folder: Path, name: str, scale: str, seeds: Sequence[int] | None = None) -> TableSpec:
    """From `folder/NAME.yaml`.

    Raises:
        UserError: no such table or scale, or a key that is missing or of the wrong kind.
    """
    known = sorted(p.stem for p in folder.glob("*.yaml"))
    if name not in known:
        raise unknown("table", name, known)
    key = f"table.{name}"
    data = check.load(folder / f"{name}.yaml", key)
    scales = check.entry(key, data, "scales", dict)
    if scale not in scales:
        raise unknown("scale", scale, map(str, scales))
    at = check.entry(f"{key}.scales", scales, scale, dict)
    columns = tuple(_column(key, column) for column in check.entries(key, at, "columns", dict, needed=True))
    named = check.entry(key, data, "rows", dict).items()
    rows = tuple(_row(f"{key}.rows.{row}", str(row), given) for row, given in named)
    rows = tuple(row for row in rows if row.name not in check.entries(key, at, "without", str))
    common = check.wanted(f"{key}.common", at.get("common", {}), dict)
    title, about = (check.entry(key, data, text, str) for text in ("title", "about"))
    models = check.entries(key, at, "models", str, needed=True)
    return TableSpec(
        name, scale, title, about, models, tuple(seeds or check.entries(key, at, "seeds", int, needed=True)),
        {verb: check.entries(f"{key}.common", common, verb, str) for verb in common}, columns, rows,
        _published(key, data), float(check.wanted(f"{key}.evaluated_tokens", at.get("evaluated_tokens", 0), float)),
        check.entries(key, data, "notes", str),
    )  # fmt: skip


def _published(key: str, data: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    known = check.entries(key, data, "published", dict)
    for given in known:
        for name in ("row", "model", "column", "source"):
            check.entry(f"{key}.published", given, name, str)
        check.entry(f"{key}.published", given, "value", float)
    return known


def _column(key: str, given: Mapping[str, Any]) -> Column:
    for name in given:
        if name not in Column.__dataclass_fields__:
            raise unknown(f"{key}.columns", name, list(Column.__dataclass_fields__))
    check.column(f"{key}.columns", given)
    column = Column(**given)
    for what, value, allowed in (("goal", column.goal, GOALS), ("part", column.part, PARTS)):
        if value not in allowed:
            raise unknown(f"{key}.columns.{what}", value, allowed)
    return column


def _row(key: str, name: str, given: Any) -> Row:
    given = given or {}
    if isinstance(given, list):  # short for one training run
        given = {"train": given}
    check.wanted(key, given, dict)
    steps: list[Step] = []
    for verb, value in given.items():
        if verb == "reading":
            continue
        if verb not in VERBS:
            raise unknown(key, verb, [*VERBS, "reading"])
        if verb != "train" and not steps:
            raise UserError(f"{key}: the first run must be a train run")
        named = value if isinstance(value, Mapping) else {verb: value}
        for step in map(str, named):
            overrides = check.entries(f"{key}.{verb}", named, step, str)
            steps.append(Step(step, verb, overrides, steps[0].name if verb != "train" else None))
    return Row(name, tuple(steps), bool(given.get("reading", False)))
