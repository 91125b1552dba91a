"""Plot the runs of a summary on the forget/retain plane."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from unlearnctl.reporting import plots, series
from unlearnctl.reporting.summary import Summary
from unlearnctl.utils import numbers

NAMES_SHOWN = 30
OFFSETS = ((8, 5), (-9, 5), (8, -13), (-9, -13))  # where a number goes if points coincide
MOST_NUMBERED = 200
Placed = tuple[int, float, float]


def scatter_png(summary: Summary, path: Path) -> list[Path]:
    """Plot forget against retain, one numbered point per run; the numbers are those of the table."""
    if summary.pair is None or not (points := _points(summary)):
        return []
    forget, retain = summary.pair
    names = [f"{i + 1}  {summary.label(summary.members[i])[:60]}" for i, _, _ in points]
    if len(names) > NAMES_SHOWN:
        names = [*names[:NAMES_SHOWN], f"and {len(names) - NAMES_SHOWN} more: summary.md"]
    with plots.canvas(path, 9.0, max(5.0, 1.2 + 0.19 * len(names))) as (axes,):
        _draw(axes, summary, points)
        _number(axes, numbered(points, summary.front))
        # none at the chance of retain: the axes follow the points, and it would stretch them
        if forget.chance is not None:
            axes.axhline(forget.chance, color=series.CHANCE, linestyle=":", label="chance")
        axes.set(xlabel=f"kept: {plots.axis_label(retain)}", ylabel=f"forgotten: {plots.axis_label(forget)}")
        plots.title(axes, "Forgotten against kept", f"{len(points)} runs, after unlearning, 95 % intervals")
        listing: dict[str, Any] = {
            "xycoords": "axes fraction",
            "va": "top",
            "fontsize": 8.5,
            "linespacing": 1.6,
        }
        axes.annotate("\n".join(names), (1.03, 1), **listing)
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.12), ncols=4)
    return [path]


def _points(summary: Summary) -> list[Placed]:
    assert summary.pair is not None
    keys = [(row.suite, row.metric) for row in reversed(summary.pair)]
    found = []
    for index, member in enumerate(summary.members):
        x, y = (numbers.finite(member.row(key).after.value) for key in keys)
        if x is not None and y is not None:
            found.append((index, x, y))
    return found


def _draw(axes: Any, summary: Summary, points: Sequence[Placed]) -> None:
    assert summary.pair is not None
    forget, retain = ((row.suite, row.metric) for row in summary.pair)
    _, xs, ys = zip(*points, strict=True)
    wide, tall = (
        [summary.members[index].rows[key].after.half or math.nan for index, _, _ in points]
        for key in (retain, forget)
    )
    axes.errorbar(xs, ys, xerr=wide, yerr=tall, color="#9FB3C8", fmt="none", zorder=2)
    style: dict[str, Any] = {"s": 64, "zorder": 3, "edgecolors": series.RETAIN, "linewidths": 1.6}
    for unbeaten, colour, label in (
        (True, series.RETAIN, "no run better on both"),
        (False, "white", "other runs"),
    ):
        chosen = [(x, y) for index, x, y in points if (index in summary.front) == unbeaten]
        if chosen:
            axes.scatter(*zip(*chosen, strict=True), color=colour, label=label, **style)
    if summary.baseline:
        start = [summary.baseline.row(key).before.value for key in (retain, forget)]
        axes.scatter(
            *([value] for value in start), s=70, marker="s", color=series.GREY, label="before", zorder=3
        )


def numbered(points: Sequence[Placed], front: Collection[int]) -> list[Placed]:
    """Pick the points that get a number: all, or only those that stand out if there are very many."""
    return [*points] if len(points) <= MOST_NUMBERED else [p for p in points if p[0] in front][:MOST_NUMBERED]


def _number(axes: Any, points: Sequence[Placed]) -> None:
    """Write the numbers; a point close to an earlier one gets its number on another side."""
    wide, tall = _spread(x for _, x, _ in points), _spread(y for _, _, y in points)
    for place, (index, x, y) in enumerate(points):
        near = sum(abs(x - u) < 0.03 * wide and abs(y - v) < 0.04 * tall for _, u, v in points[:place])
        offset = OFFSETS[near % len(OFFSETS)]
        side = "left" if offset[0] > 0 else "right"
        axes.annotate(
            str(index + 1), (x, y), offset, textcoords="offset points", ha=side, fontsize=9, zorder=5
        )


def _spread(values: Iterable[float]) -> float:
    found = list(values)
    return max(found, default=0.0) - min(found, default=0.0) or 1.0
