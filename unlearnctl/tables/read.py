"""conf/table/NAME.yaml read and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unlearnctl.tables import check
from unlearnctl.tables.spec import Column, Row, Step, TableSpec
from unlearnctl.utils.errors import UserError, unknown

VERBS = ("train", "repair", "attack")
GOALS = ("lower", "higher", "none")
PARTS = ("before", "after", "worst")


def read_table(
    files: Mapping[str, Path],
    name: str,
    scale: str,
    seeds: Sequence[int] | None = None,
    models: Sequence[str] | None = None,
) -> TableSpec:
    """From the file of that name; `seeds` and `models` in place of its own.

    Raises:
        UserError: no such table or scale, or a key that is missing or of the wrong kind.
    """
    if name not in files:
        raise unknown("table", name, files)
    key = f"table.{name}"
    data = check.load(files[name], key)
    scales = check.entry(key, data, "scales", dict)
    if scale not in scales:
        raise unknown("scale", scale, map(str, scales))
    at = check.entry(f"{key}.scales", scales, scale, dict)
    common = check.wanted(f"{key}.common", at.get("common", {}), dict)
    rows = _all_rows(key, data, check.entries(key, at, "without", str))
    steps = [*VERBS, *(step.name for row in rows for step in row.steps)]
    for of in common:
        if of not in steps:
            raise unknown(f"{key}.common", of, dict.fromkeys(steps))
    asked = {"models": models, "seeds": seeds}
    command = [f"{what}={','.join(map(str, values))}" for what, values in asked.items() if values]
    return TableSpec(
        name=name,
        scale=scale,
        title=check.entry(key, data, "title", str),
        about=check.entry(key, data, "about", str),
        models=tuple(models or check.entries(key, at, "models", str, needed=True)),
        seeds=tuple(seeds or check.entries(key, at, "seeds", int, needed=True)),
        common={verb: check.entries(f"{key}.common", common, verb, str) for verb in common},
        columns=tuple(
            _column(key, column) for column in check.entries(key, at, "columns", dict, needed=True)
        ),
        rows=rows,
        published=_published(key, data),
        evaluated_tokens=float(check.wanted(f"{key}.evaluated_tokens", at.get("evaluated_tokens", 0), float)),
        notes=(*check.entries(key, data, "notes", str), *check.entries(key, at, "notes", str)),
        x=check.wanted(f"{key}.x", data["x"], str) if "x" in data else None,
        command=" ".join(["unlearnctl reproduce", name, f"scale={scale}", *command]),
    )


def _published(key: str, data: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    known = check.entries(key, data, "published", dict)
    for given in known:
        for name in ("row", "model", "column", "source"):
            check.entry(f"{key}.published", given, name, str)
        check.entry(f"{key}.published", given, "value", float)
        check.wanted(f"{key}.published.tolerance", given.get("tolerance", 0), float)
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


def _all_rows(key: str, data: Mapping[str, Any], without: Sequence[str]) -> tuple[Row, ...]:
    named = check.entry(key, data, "rows", dict).items()
    rows = [row for name, given in named for row in _rows(f"{key}.rows.{name}", str(name), given)]
    return tuple(row for row in rows if row.name not in without)


def _rows(key: str, name: str, given: Any) -> list[Row]:
    """One row, or one for each value of `over`, which stands for `{x}` in its overrides."""
    if not isinstance(given, Mapping) or "over" not in given:
        return [_row(key, name, given)]
    rest = {what: value for what, value in given.items() if what != "over"}
    rows = []
    for x in check.entries(key, given, "over", float, needed=True):
        row = _row(key, f"{name}, {x:g}", json.loads(json.dumps(rest, default=str).replace("{x}", f"{x:g}")))
        rows.append(replace(row, series=name, x=float(x)))
    return rows


def _row(key: str, name: str, given: Any) -> Row:
    given = given or {}
    if isinstance(given, list):  # shorthand for one training run
        given = {"train": given}
    check.wanted(key, given, dict)
    steps: list[Step] = []
    for verb, value in given.items():
        if verb == "reading":
            continue
        if verb not in VERBS:
            raise unknown(key, verb, [*VERBS, "reading", "over"])
        if verb != "train" and not steps:
            raise UserError(f"{key}: the first run must be a train run")
        named = value if isinstance(value, Mapping) else {verb: value}
        for step in map(str, named):
            overrides = check.entries(f"{key}.{verb}", named, step, str)
            steps.append(Step(step, verb, overrides, steps[0].name if verb != "train" else None))
    return Row(name, tuple(steps), bool(given.get("reading", False)))
