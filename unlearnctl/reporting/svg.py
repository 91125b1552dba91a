"""Compute the geometry of the inline SVG curves: positions and tick labels, which the template draws."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from unlearnctl.reporting import series
from unlearnctl.reporting.series import Line, Plane
from unlearnctl.results.run import Row, Run
from unlearnctl.utils import numbers

WIDTH, HEIGHT = 460, 290  # close to the size on a phone and in two columns, so that text stays readable
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 12, 44
SPARE = ("c0", "c1", "c2", "c3")


@dataclass(frozen=True)
class Axis:
    """A linear or logarithmic scale from data to pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def over(
        cls, values: Iterable[float], start: float, end: float, *, log: bool = False, pad: float = 0.06
    ) -> Axis:
        """Return a scale that holds `values` with a little room, even if they are all equal or there are none."""
        scaled = [math.log10(v) if log else v for v in values] or [0.0, 1.0]
        low, high = min(scaled), max(scaled)
        room = (high - low) * pad if high > low else abs(high) * 0.1 or 1.0
        room = room if high == low or pad else 0.0
        return cls(low - room, high + room, start, end, log)

    def at(self, value: float) -> float:
        """Return the pixel position, rounded to keep the page small."""
        scaled = math.log10(value) if self.log else value
        return round(self.start + (scaled - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self, wanted: int = 6) -> list[tuple[float, str]]:
        """Return pixel positions and labels at round numbers."""
        step = _round_step((self.high - self.low) / wanted)
        if self.log:
            step = max(1.0, math.ceil(step))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        marks = [i * step for i in range(first, last + 1)]
        return [(self.at(10**m if self.log else m), _tick(10**m if self.log else m)) for m in marks]


def _round_step(raw: float) -> float:
    magnitude = 10.0 ** math.floor(math.log10(raw))
    return next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw * 0.999)


def _tick(number: float) -> str:
    return (
        f"{number:.3g}"
        if abs(number) < 1000
        else f"{number / 1000:g}k"
        if abs(number) < 1e6
        else f"{number:.0e}"
    )


@dataclass(frozen=True)
class Chart:
    """One figure of the page. The template draws `lines` and `marks`, and the pointer reads them out."""

    key: str
    title: str
    note: str
    x_label: str
    y_label: str
    x_axis: Axis
    y_axis: Axis
    lines: list[dict[str, Any]]
    marks: list[dict[str, Any]] = field(default_factory=list)
    guides: list[dict[str, Any]] = field(default_factory=list)
    free: bool = False  # the pointer meets points one by one (a plane), not all at one x (curves)

    def hover(self) -> dict[str, Any]:
        """Return what the script needs: positions and labels, with nothing left to compute."""
        return {
            "free": self.free,
            "lines": [{k: line[k] for k in ("name", "cls", "points")} for line in self.lines],
        }


def charts(run: Run) -> list[Chart]:
    """Collect the curves of a run, as far as they were recorded."""
    scores = series.scores(run)
    roles = {row.metric: row.role for row in run.rows}
    plane = series.plane(run)
    means = f", means of {size} steps" if (size := series.group(len(run.train))) > 1 else ""
    means += f", every {run.every}th step read" if run.every > 1 else ""
    losses, norms = series.losses(run), series.column(run, "grad_norm")
    made = [
        curves("losses", "Loss terms", f"before weighting{means}", "loss", losses, {}),
        _plane_chart(plane) if plane else None,
        curves("scores", "Scores while training", "in-training evaluation", "score (0 to 1)", scores, roles),
        curves(
            "knobs",
            "Learned trade-offs",
            "multiples of the config's values",
            "multiple",
            series.knobs(run),
            {},
            series.action_axis(run),
        ),
        curves(
            "outcomes",
            "What each setting brought",
            "on validation items",
            "score (0 to 1)",
            series.outcomes(run),
            {"forgotten": "forget", "retained": "retain"},
            series.action_axis(run),
        ),
        curves("grad", "Gradient norm", f"before clipping{means}", "norm", norms, {}),
    ]
    return [chart for chart in made if chart]


def css_class(name: str, role: str, position: int) -> str:
    """Return the colour of a curve: by its role, if it has one, the second of a role in a tint."""
    fixed = {"total": "total", "forget": "forget", "retain": "retain"}
    return fixed.get(name) or fixed.get(role) or SPARE[position % len(SPARE)]


def curves(
    key: str,
    title: str,
    note: str,
    unit: str,
    lines: list[Line],
    roles: dict[str, str],
    across: str = "optimiser step",
) -> Chart | None:
    """Draw named curves over steps, blocks or episodes; None without any.

    Args:
        key: of the chart on its page.
        title: of the chart.
        note: beside the title.
        unit: what the curves are measured in; one that begins with "score" gets an axis from 0 to 1.
        lines: the curves.
        roles: curve → forget or retain, which decides its colour.
        across: what the curves run over.
    """
    if not lines:
        return None
    log = series.wants_log(lines)
    x_axis = Axis.over((x for line in lines for x, _ in line.points), LEFT, WIDTH - RIGHT, pad=0)
    y_values = [y for line in lines for _, y in line.points]
    y_axis = Axis.over(y_values, HEIGHT - BOTTOM, TOP, log=log)
    if unit.startswith("score"):
        y_axis = Axis(-0.03, 1.03, HEIGHT - BOTTOM, TOP)
    made, used = [], dict[str, int]()
    for i, line in enumerate(lines):
        cls = css_class(line.name, roles.get(line.name, ""), i)
        dash, used[cls] = used.get(cls, 0), used.get(cls, 0) + 1
        points = [
            [x_axis.at(x), y_axis.at(y), f"{across.split()[-1]} {x:g}", f"{y:.4g}"] for x, y in line.points
        ]
        made.append(drawn(line.name, f"{cls} dash{min(dash, 3)}", points))
    return Chart(key, title, f"{note}, log scale" if log else note, across, unit, x_axis, y_axis, made)


def drawn(name: str, cls: str, points: list[list[Any]]) -> dict[str, Any]:
    """Return a curve as the template takes it; a point is [x, y, where, what], in pixels and words."""
    path = "M" + "L".join(f"{x} {y}" for x, y, *_ in points)
    return {"name": name, "cls": cls, "points": points, "d": path, "dots": len(points) <= 30}


def _plane_chart(plane: Plane) -> Chart:
    xs = [x for _, x, _ in plane.trail] + [x for _, x, _ in plane.ends]
    ys = [y for _, _, y in plane.trail] + [y for _, _, y in plane.ends]
    x_axis = _plane_axis(plane.retain, xs, LEFT, WIDTH - RIGHT)
    y_axis = _plane_axis(plane.forget, ys, HEIGHT - BOTTOM, TOP)
    named = [(f"step {s}", x, y) for s, x, y in plane.trail]
    lines = [("during training", "total", named)] if named else []
    lines += [(name, "retain", [(name, x, y)]) for name, x, y in plane.ends]
    made = [drawn(name, cls, _plane_points(plane, x_axis, y_axis, points)) for name, cls, points in lines]
    marks = [_mark(plane, name, x_axis, y_axis, x, y) for name, x, y in plane.ends]
    x_label = f"kept: {plane.retain.metric}{_arrow(plane.retain, '←→')}"
    y_label = f"forgotten: {plane.forget.metric}{_arrow(plane.forget, '↓↑')}"
    guides = _guides(plane, x_axis, y_axis)
    note = "with 95 % intervals"
    return Chart(
        "plane", "Forgotten against kept", note, x_label, y_label, x_axis, y_axis, made, marks, guides, True
    )


def _plane_axis(row: Row, values: list[float], start: float, end: float) -> Axis:
    return (
        Axis(-0.03, 1.03, start, end)
        if numbers.is_share(row.metric)
        else Axis.over(values, start, end, pad=0.2)
    )


def _plane_points(
    plane: Plane, x_axis: Axis, y_axis: Axis, points: list[tuple[str, float, float]]
) -> list[list[Any]]:
    kept, gone = plane.retain.metric, plane.forget.metric
    return [
        [
            x_axis.at(x),
            y_axis.at(y),
            name,
            f"{kept} {numbers.value(x, kept)}, {gone} {numbers.value(y, gone)}",
        ]
        for name, x, y in points
    ]


def _mark(plane: Plane, name: str, x_axis: Axis, y_axis: Axis, x: float, y: float) -> dict[str, Any]:
    wide, tall = (getattr(row, name).half or 0.0 for row in (plane.retain, plane.forget))
    return {
        "name": name,
        "x": x_axis.at(x),
        "y": y_axis.at(y),
        "x1": x_axis.at(x - wide),
        "x2": x_axis.at(x + wide),
        "y1": y_axis.at(y - tall),
        "y2": y_axis.at(y + tall),
    }


def _guides(plane: Plane, x_axis: Axis, y_axis: Axis) -> list[dict[str, Any]]:
    guides = []
    for row, axis, way in ((plane.retain, x_axis, "x"), (plane.forget, y_axis, "y")):
        if row.chance is not None and axis.low <= row.chance <= axis.high:
            guides.append({"way": way, "at": axis.at(row.chance)})
    return guides


def _arrow(row: Row, ways: str) -> str:
    return {"lower": f" ({ways[0]} better)", "higher": f" ({ways[1]} better)"}.get(row.goal, "")
