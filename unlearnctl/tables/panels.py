"""Plot a table whose rows are a sweep: one panel per column, one line per series."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unlearnctl.reporting.plots import canvas, colour, name, title
from unlearnctl.tables.cells import Cell, Line, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPREAD = 30.0  # values of x further apart than this, as a ratio, get a logarithmic axis


def write_plots(table: Table, folder: Path) -> list[Path]:
    """Write NAME-SCALE-MODEL.png to `folder` for each model; nothing for a table that is no sweep."""
    if table.spec.x is None:
        return []
    return [path for model in table.spec.models if (path := _plot(table, folder, model))]


def _plot(table: Table, folder: Path, model: str) -> Path | None:
    found: dict[str, list[Line]] = {}
    for line in table.lines:
        if line.model == model and line.row.series and line.row.x is not None:
            found.setdefault(line.row.series, []).append(line)
    columns = table.spec.columns
    if not any(
        line.cells[place].values
        for lines in found.values()
        for line in lines
        for place in range(len(columns))
    ):
        return None
    path = folder / f"{table.spec.name}-{table.spec.scale}-{model}.png"
    with canvas(path, 7.0, 1.2 + 2.2 * len(columns), (1,) * len(columns)) as panels:
        for place, (axes, column) in enumerate(zip(panels, columns, strict=True)):
            for at, (series, lines) in enumerate(found.items()):
                _draw(axes, [(line.row.x, line.cells[place]) for line in lines], name(series), colour(at))
            axes.set(ylabel=column.title, xlabel=table.spec.x if place == len(columns) - 1 else "")
            _scale(axes, [line.row.x or 0.0 for lines in found.values() for line in lines])
        panels[0].legend(ncols=4)
        count = len(table.spec.seeds)
        seeds = f"mean over {count} seeds" if count > 1 else "one seed"
        title(panels[0], table.spec.title, f"{model}, {seeds}, 95 % interval")
    return path


def _draw(axes: Axes, points: Sequence[tuple[float | None, Cell]], label: str, shade: str) -> None:
    known = [(x, cell.value, cell.half or 0.0) for x, cell in points if cell.value is not None]
    if known:
        xs, values, halves = zip(*known, strict=True)
        axes.errorbar(xs, values, halves, label=label, color=shade, marker="o", capsize=3)


def _scale(axes: Axes, xs: Sequence[float]) -> None:
    if min(xs) > 0 and max(xs) / min(xs) > SPREAD:
        axes.set_xscale("log")
    axes.set_xticks(sorted(set(xs)), [f"{x:g}" for x in sorted(set(xs))])
    axes.minorticks_off()
