"""Collect the points of the curves on a page, thinned and named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from unlearnctl.results.run import Row, Run, main_pair
from unlearnctl.utils import numbers

Points = list[tuple[float, float]]
LIMIT = 300  # points per curve: more than a screen can show, and few enough for a page that opens at once

# Okabe and Ito's colours, distinguishable with any colour vision. Each name has one role everywhere.
ORANGE, BLUE, GREEN, PURPLE, AMBER, SKY, GREY = (
    "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6B7280",
)  # fmt: skip
FORGET, RETAIN, CHANCE = ORANGE, BLUE, "#A87200"


@dataclass(frozen=True)
class Line:
    """One named curve."""

    name: str
    points: Points


@dataclass(frozen=True)
class Plane:
    """The trade-off of one run: retain (x) against forget (y), by step if that was recorded."""

    forget: Row
    retain: Row
    trail: list[tuple[float, float, float]]

    @property
    def ends(self) -> list[tuple[str, float, float]]:
        """List `before` and `after`, if both metrics are finite there."""
        found = []
        for name in ("before", "after"):
            x, y = (numbers.finite(getattr(row, name).value) for row in (self.retain, self.forget))
            if x is not None and y is not None:
                found.append((name, x, y))
        return found


def losses(run: Run) -> list[Line]:
    """Collect the total loss and its terms over steps."""
    rows = run.train
    lines = [Line("total", _column(rows, "loss"))]
    terms: dict[str, list[tuple[float, Any]]] = {}
    for row in rows:
        for name, value in _terms(row).items():
            terms.setdefault(name, []).append((row["step"], value))
    lines += [Line(name, _points(pairs)) for name, pairs in terms.items()]
    return [line for line in lines if line.points]


def column(run: Run, key: str) -> list[Line]:
    """Collect one number of the train rows (`lr`, `grad_norm`) over steps; nothing if it was not recorded."""
    points = _column(run.train, key)
    return [Line(key, points)] if points else []


def scores(run: Run) -> list[Line]:
    """Collect bounded metrics from the in-training evaluations; perplexities would flatten the others."""
    lines = [Line(r.metric, run.trace(r.suite, r.metric)) for r in run.rows if numbers.is_share(r.metric)]
    return [line for line in lines if len(line.points) > 1]


def knobs(run: Run) -> list[Line]:
    """Collect what a meta-learned run set, by action, as multiples of the first values."""
    first = _knobs(run.actions[0]) if run.actions else {}
    rows = []
    for row in run.actions:
        multiples = {name: value / first[name] for name, value in _knobs(row).items() if first.get(name)}
        rows.append({"step": row["step"], **multiples})
    lines = [Line(name, _column(rows, name)) for name in first]
    return [line for line in lines if len(line.points) > 1]


def outcomes(run: Run) -> list[Line]:
    """Collect what each action of a meta-learned run achieved."""
    lines = [Line(name, _column(run.actions, name)) for name in ("forgotten", "retained", "hypervolume")]
    return [line for line in lines if len(line.points) > 1]


def action_axis(run: Run) -> str:
    """Say what the actions of a meta-learned run are counted in."""
    return "episode" if run.actions and run.actions[0].get("kind") == "episode" else "optimiser step"


def _knobs(row: Mapping[str, Any]) -> dict[str, float]:
    held = row.get("knobs")
    found = {n: numbers.finite(v) for n, v in held.items()} if isinstance(held, Mapping) else {}
    return {str(n): v for n, v in found.items() if v is not None}


def plane(run: Run) -> Plane | None:
    """Build the forget/retain plane, if the run has a metric of each role."""
    pair = main_pair(run.rows)
    if pair is None:
        return None
    forget, retain = pair
    heights = dict(run.trace(forget.suite, forget.metric))
    trail = [(s, x, heights[s]) for s, x in run.trace(retain.suite, retain.metric) if s in heights]
    found = Plane(forget, retain, trail)
    return found if len(found.ends) + len(trail) > 1 else None  # a single point says no more than the table


def group(count: int, limit: int = LIMIT) -> int:
    """Say how many neighbours become one point."""
    return 1 if count <= limit else -(-count // (limit - 1))


def thin(points: Points, limit: int = LIMIT) -> Points:
    """Reduce to at most `limit` points by averaging neighbours; the last point is kept."""
    size = group(len(points), limit)
    if size == 1:
        return points
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    means = [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]
    return [*means[:-1], points[-1]]


def wants_log(lines: list[Line]) -> bool:
    """Tell whether all values are positive and span more than two decades."""
    values = [y for line in lines for _, y in line.points]
    return bool(values) and min(values) > 0 and max(values) > 100 * min(values)


def _terms(row: Mapping[str, Any]) -> Mapping[str, Any]:
    terms = row.get("terms")
    return terms if isinstance(terms, Mapping) else {}


def _column(rows: list[dict[str, Any]], key: str) -> Points:
    return _points((row["step"], row.get(key)) for row in rows)


def _points(pairs: Iterable[tuple[float, Any]]) -> Points:
    known = ((float(step), numbers.finite(value)) for step, value in pairs)
    return thin([(step, number) for step, number in known if number is not None])
