"""Write search.html, which shows what `unlearnctl tune` tried, what it found, and the command that uses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearnctl.reporting import svg
from unlearnctl.reporting.look_table import lines, look_charts
from unlearnctl.reporting.page import content_hash, environment, own
from unlearnctl.reporting.summary_columns import short
from unlearnctl.results.trade_off import Trade, front
from unlearnctl.utils import numbers
from unlearnctl.utils.atomic import write_atomically


@dataclass(frozen=True)
class Tried:
    """One trial: its settings by key, its place in the plane, and how it ended."""

    number: int
    settings: Mapping[str, Any]
    state: str
    point: Trade | None  # None: it failed
    page: str | None  # its own report, relative to the search's directory; only a completed trial has one


@dataclass(frozen=True)
class Search:
    """What the page shows. `chosen` is the number of the trial that the recipe is from, if there is one."""

    title: str
    sentence: str
    facts: Sequence[str]
    commands: Sequence[tuple[str, str]]
    trials: Sequence[Tried]
    chosen: int | None
    look: Mapping[str, Any]


def write_search(search: Search, root: Path) -> Path:
    """Write `search.html` into the search's directory."""
    path = root / "search.html"
    write_atomically(path, render_search(search).encode(errors="replace").decode())
    return path


def render_search(search: Search) -> str:
    """Return the page as text."""
    scored = [trial for trial in search.trials if trial.point]
    charts = [*([_plane(search, scored)] if scored else []), *look_charts(search.look)]
    style, script = own("report.css"), own("reader.js", "report.js")
    return (
        environment()
        .get_template("search.html.j2")
        .render(
            search=search,
            head=_head(search),
            rows=_rows(search),
            charts=charts,
            frame=svg,
            lines=lines(search.look),
            hover={chart.key: chart.hover() for chart in charts},
            style=style,
            script=script,
            style_hash=content_hash(style),
            script_hash=content_hash(script),
        )
    )


def _keys(search: Search) -> list[str]:
    return list(dict.fromkeys(key for trial in search.trials for key in trial.settings))


def _head(search: Search) -> list[str]:
    keys = _keys(search)
    return ["trial", *(short(key, keys) for key in keys), "forgotten", "kept", "score", ""]


def _rows(search: Search) -> list[tuple[Tried, list[str]]]:
    """Return the cells of each trial after its number, the best first."""
    ordered = sorted(search.trials, key=lambda trial: -trial.point.hypervolume if trial.point else 1.0)
    keys, edge = _keys(search), _front(search.trials)
    rows = []
    for trial in ordered:
        settings = [numbers.setting(trial.settings.get(key, numbers.MISSING)) for key in keys]
        point = trial.point
        shares = [numbers.MISSING] * 3
        if point:
            shares = [f"{value:.2f}" for value in (*point, point.hypervolume)]
        said = ["recipe"] * (trial.number == search.chosen) + ["front"] * (point in edge)
        said += [trial.state] * (trial.state != "completed")
        rows.append((trial, [*settings, *shares, ", ".join(said)]))
    return rows


def _front(trials: Sequence[Tried]) -> list[Trade]:
    return front([trial.point for trial in trials if trial.point])


def _plane(search: Search, scored: Sequence[Tried]) -> svg.Chart:
    """Draw all trials in the plane of what was kept and forgotten, the front as a line, the chosen one marked."""
    x_axis = svg.Axis(-0.03, 1.03, svg.LEFT, svg.WIDTH - svg.RIGHT)
    y_axis = svg.Axis(-0.03, 1.03, svg.HEIGHT - svg.BOTTOM, svg.TOP)

    def at(point: Trade, name: str) -> list[Any]:
        said = f"forgotten {point.forgotten:.2f}, kept {point.retained:.2f}"
        return [x_axis.at(point.retained), y_axis.at(point.forgotten), name, said]

    edge = [at(point, "on the front") for point in _front(scored)]
    dots = [at(trial.point, f"trial {trial.number}") for trial in scored if trial.point]
    lines = [svg.drawn("trials", "retain", dots) | {"d": "", "dots": True}]
    lines += [svg.drawn("front", "total", edge) | {"dots": False}] if len(edge) > 1 else []
    marks = [
        {"name": f"trial {trial.number}", "x": x, "x1": x, "x2": x, "y": y, "y1": y, "y2": y}
        for trial in scored
        if trial.number == search.chosen and trial.point
        for x, y, *_ in [at(trial.point, "")]
    ]
    return svg.Chart("plane", "Trials", "on validation items; up and to the right is better",
                     "kept (share of what the model had)", "forgotten (share of what could be)",
                     x_axis, y_axis, lines, marks, free=True)  # fmt: skip
