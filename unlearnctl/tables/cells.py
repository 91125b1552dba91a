"""Compute the cells of a table from the results of its runs, however these were made."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unlearnctl.tables.spec import Column, Member, Row, TableSpec
from unlearnctl.utils import numbers

Results = Mapping[str, Any]
Find = Callable[[Member], Results | None]
SIGNIFICANT = 0.05


@dataclass
class Cell:
    """One number of the table."""

    values: list[float]  # by seed
    half: float | None = None  # of the 95 % interval: over seeds, or over items if there is one seed
    seeds: tuple[int, ...] = ()  # whose values these are
    n: int | None = None  # items behind each value
    bold: bool = False
    published: str | None = None
    source: str | None = None
    tolerance: float | None = None  # how far from the published value still counts as the same

    @property
    def value(self) -> float | None:
        """Return the mean over seeds."""
        return statistics.mean(self.values) if self.values else None

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "values": self.values,
            "seeds": list(self.seeds),
            "mean": self.value,
            "half": self.half,
            "n": self.n,
            "published": self.published,
        }


@dataclass
class Line:
    """A row on one model."""

    model: str
    row: Row
    cells: list[Cell]


@dataclass
class Table:
    """What the renderers print."""

    spec: TableSpec
    lines: list[Line]
    missing: int  # runs that do not exist yet
    provenance: list[str]


def build(spec: TableSpec, find: Find) -> Table:
    """Build the cells of every row and model; a missing run leaves them empty."""
    runs = {member.key: find(member) for member in spec.members()}
    lines = [
        Line(model, row, [_cell(spec, runs, model, row, column) for column in spec.columns])
        for model in spec.models
        for row in spec.rows
    ]
    for model in spec.models:
        for place, column in enumerate(spec.columns):
            _mark_best(
                [line.cells[place] for line in lines if line.model == model and line.row.method], column
            )
    found = [results for results in runs.values() if results]
    return Table(spec, lines, len(runs) - len(found), provenance(found))


def _cell(spec: TableSpec, runs: Mapping[str, Results | None], model: str, row: Row, column: Column) -> Cell:
    found = {seed: _entry(spec, runs, model, seed, row, column) for seed in spec.seeds}
    known = {
        s: entry for s, entry in found.items() if entry and numbers.finite(entry.get("value")) is not None
    }
    seeds = tuple(known)[: None if row.method else 1]  # a model that no seed changes is measured once
    entries = [known[seed] for seed in seeds]
    values = [entry["value"] * column.scale for entry in entries]
    cell = Cell(values, _half(values, entries, column), seeds, entries[0].get("n") if entries else None)
    for told in spec.published:
        if (told.row, told.model, told.column) == (row.name, model, column.title):
            cell.published, cell.source = str(told.value), told.source
            cell.tolerance = told.tolerance
    return cell


def _half(values: Sequence[float], entries: Sequence[Any], column: Column) -> float | None:
    if len(values) > 1:
        from scipy.stats import t

        error = statistics.stdev(values) / math.sqrt(len(values))
        return float(t.ppf(0.975, len(values) - 1)) * error
    interval = entries[0].get("interval") if entries else None
    return (interval[1] - interval[0]) / 2 * column.scale if interval else None


def _entry(
    spec: TableSpec, runs: Mapping[str, Results | None], model: str, seed: int, row: Row, column: Column
) -> Mapping[str, Any] | None:
    """Find the entry of results.json behind one seed of a cell."""
    suite, _, metric = column.metric.partition("/")
    if not row.steps:  # the untouched model, from any run that measured it
        mine = [runs[m.key] for m in spec.members() if m.model == model and not m.step.made]
        return next((e for r in mine if (e := _at(r, "before", suite, metric))), None)
    step = next((s for s in row.steps if s.name == column.step), None) if column.step else row.steps[-1]
    if step is None:
        return None
    results = runs.get(spec.member(model, seed, row, step).key)
    if column.part != "worst":
        return _at(results, column.part, suite, metric)
    for tried in (results or {}).get("attacks", []):
        wanted = tried["variant"].startswith(column.variant) if column.variant else tried["worst"]
        if tried["attack"] == column.attack and wanted:
            return (tried["scores"].get(suite) or {}).get(metric)
    return None


def _at(results: Results | None, part: str, suite: str, metric: str) -> Mapping[str, Any] | None:
    return (((results or {}).get(part) or {}).get(suite) or {}).get(metric)


def _mark_best(cells: Sequence[Cell], column: Column) -> None:
    """Set the best mean in bold if a paired t-test over seeds separates it from the second best."""
    ranked = sorted(
        (c for c in cells if c.value is not None),
        key=lambda c: c.value or 0.0,
        reverse=column.goal == "higher",
    )
    if column.goal == "none" or len(ranked) < 2:
        return
    first, second = ranked[:2]
    if first.seeds == second.seeds and len(first.seeds) > 1:
        gaps = [a - b for a, b in zip(first.values, second.values, strict=True)]
        first.bold = _p(gaps) < SIGNIFICANT


def _p(gaps: Sequence[float]) -> float:
    from scipy.stats import ttest_1samp

    if statistics.stdev(gaps) == 0:
        return 0.0 if any(gaps) else 1.0
    return float(ttest_1samp(gaps, 0.0).pvalue)


def provenance(results: Sequence[Results]) -> list[str]:
    """List where the numbers come from, each fact once, in a fixed order."""
    facts: dict[str, set[str]] = {"commit": set(), "versions": set(), "hardware": set()}
    for each in results:
        came = each["provenance"]
        facts["commit"].add(
            f"{came['commit'] or 'unknown'}{' with uncommitted changes' if came['dirty'] else ''}"
        )
        facts["versions"].add(", ".join(f"{k} {v}" for k, v in sorted(came["versions"].items()) if v))
        hardware = came["hardware"]
        facts["hardware"].add(
            ", ".join(hardware.get("gpus") or []) or f"{hardware['cpu']}, {hardware['cores']} cores"
        )
    return [f"{name}: {'; '.join(sorted(found))}" for name, found in facts.items() if found]


def to_json(table: Table) -> str:
    """Return every value of the table, for other programs."""
    titles = [column.title for column in table.spec.columns]
    lines = [
        {
            "model": line.model,
            "row": line.row.name,
            "cells": dict(zip(titles, map(Cell.to_json, line.cells), strict=True)),
        }
        for line in table.lines
    ]
    return json.dumps({"table": table.spec.name, "scale": table.spec.scale, "lines": lines}, indent=2) + "\n"
