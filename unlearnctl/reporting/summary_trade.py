"""Plot the runs of a summary by forgotten and retained share, and as lines across their settings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unlearnctl.reporting import plots, series
from unlearnctl.reporting.summary import Summary
from unlearnctl.reporting.summary_columns import short
from unlearnctl.reporting.summary_plot import numbered
from unlearnctl.results.trade_off import Trade, front, hypervolume
from unlearnctl.utils import numbers

Point = tuple[int, Trade]  # place in the table, from 0


def points(summary: Summary) -> list[Point]:
    """List the runs that have both shares."""
    return list(summary.trades.items())


def sentence(summary: Summary) -> str:
    """Say `Hypervolume of the front 0.873 (forgotten × retained share); the best single run is 3 with 0.861.`"""
    scored = points(summary)
    if not scored:
        return ""
    place, best = max(scored, key=lambda pair: pair[1].hypervolume)
    area = hypervolume([point for _, point in scored])
    return (
        f"Hypervolume of the front {area:.3f} (forgotten × retained share); "
        f"the best single run is {place + 1} with {best.hypervolume:.3f}."
    )


def pareto_png(summary: Summary, path: Path) -> list[Path]:
    """Plot forgotten against retained share with the area under the front; the numbers are those of the table."""
    scored = points(summary)
    if len(scored) < 2:
        return []
    trades = [point for _, point in scored]
    edge, area = front(trades), hypervolume(trades)
    unbeaten = set(edge)
    with plots.canvas(path, 6.0, 5.4) as (axes,):
        corners = _staircase(edge)
        axes.fill(*zip(*corners, strict=True), color=series.SKY, alpha=0.25, label=f"hypervolume {area:.3f}")
        style: dict[str, Any] = {"s": 48, "edgecolors": series.RETAIN}
        for chosen, colour, label in ((True, series.RETAIN, "front"), (False, "white", "other runs")):
            some = [(p.retained, p.forgotten) for p in trades if (p in unbeaten) == chosen]
            if some:
                axes.scatter(*zip(*some, strict=True), color=colour, label=label, **style)
        places = [(place, point.retained, point.forgotten) for place, point in scored]
        for place, x, y in numbered(places, {place for place, point in scored if point in unbeaten}):
            axes.annotate(str(place + 1), (x, y), (5, 4), textcoords="offset points", fontsize=8)
        axes.set(
            xlabel="kept (share of what the base model had)", ylabel="forgotten (share of what could be)"
        )
        axes.set(xlim=(-0.03, 1.05), ylim=(-0.03, 1.05))
        plots.title(axes, "Pareto front", f"{len(scored)} runs; up and to the right is better")
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.12), ncols=3)
    return [path]


def _staircase(edge: Sequence[Trade]) -> list[tuple[float, float]]:
    """Return the outline, as (kept, forgotten), of everything that the front matches or beats."""
    corners, kept = [(0.0, 0.0)], 0.0
    for point in sorted(edge, key=lambda p: p.retained):
        corners.append((kept, point.forgotten))
        corners.append((point.retained, point.forgotten))
        kept = point.retained
    return [*corners, (kept, 0.0)]


def parallel_png(summary: Summary, path: Path) -> list[Path]:
    """Draw one line per run across an axis for each setting that differs and for the three scores."""
    scored = points(summary)
    if len(scored) < 2 or not summary.columns:
        return []
    axis_names = [short(key, summary.columns) for key in summary.columns]
    columns = [
        _scaled([summary.members[place].config.get(key) for place, _ in scored]) for key in summary.columns
    ]
    ends = [_ends([summary.members[place].config.get(key) for place, _ in scored]) for key in summary.columns]
    for name, values in (
        ("forgotten", [p.forgotten for _, p in scored]),
        ("kept", [p.retained for _, p in scored]),
        ("hypervolume", [p.hypervolume for _, p in scored]),
    ):
        axis_names.append(name)
        columns.append(values)
        ends.append(("0", "1"))
    with plots.canvas(path, max(6.0, 1.5 * len(columns)), 4.4) as (axes,):
        _lines(axes, columns)
        for place, (low, high) in enumerate(ends):
            for height, text in ((0.0, low), (1.0, high)):
                axes.annotate(
                    plots.name(text), (place, height), (4, 3), textcoords="offset points", fontsize=8
                )
        axes.set_xticks(range(len(columns)), [plots.name(name) for name in axis_names])
        axes.set(yticks=[], ylim=(-0.05, 1.1))
        plots.title(
            axes, "Settings and scores", f"{len(scored)} runs; the darker, the larger the hypervolume"
        )
    return [path]


def _lines(axes: Any, columns: Sequence[Sequence[float]]) -> None:
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection

    worth = columns[-1]
    top = max(worth) or 1.0
    order = sorted(range(len(worth)), key=lambda run: worth[run])
    paths = [[(place, column[run]) for place, column in enumerate(columns)] for run in order]
    colours = [colormaps["viridis_r"](worth[run] / top) for run in order]
    axes.add_collection(LineCollection(paths, colors=colours, linewidths=1.4, alpha=0.8))
    axes.autoscale_view()


def _scaled(entries: Sequence[object]) -> list[float]:
    """Place entries on an axis from 0 to 1: in proportion, by ratio across two decades or more, or by rank."""
    values = [numbers.finite(entry) for entry in entries]
    known = [value for value in values if value is not None]
    if len(known) == len(values):
        if min(known) > 0 and max(known) >= 100 * min(known):
            known = [math.log(value) for value in known]
        low, wide = min(known), (max(known) - min(known)) or 1.0
        return [(value - low) / wide for value in known]
    order = sorted({numbers.setting(entry) for entry in entries})
    return [order.index(numbers.setting(entry)) / max(1, len(order) - 1) for entry in entries]


def _ends(entries: Sequence[object]) -> tuple[str, str]:
    places = _scaled(entries)
    by_place = dict(zip(places, entries, strict=True))
    return numbers.setting(by_place[min(by_place)]), numbers.setting(by_place[max(by_place)])


def cells(summary: Summary) -> list[list[str]]:
    """Return forgotten, retained and hypervolume of each member in full precision, empty if unknown."""
    known = dict(points(summary))
    rows = []
    for place in range(len(summary.members)):
        point = known.get(place)
        rows.append([repr(value) for value in (*point, point.hypervolume)] if point else [""] * 3)
    return rows
