"""Draw PNG plots with matplotlib, which is imported when one is drawn, on its Agg canvas (no display)."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnctl.reporting import series
from unlearnctl.results.run import Row, Run, Score
from unlearnctl.utils import numbers
from unlearnctl.utils.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME_LENGTH = 32
AXES = {
    "share": "score (0 to 1), bars: 95 % interval",
    "perplexity": "perplexity",
    "nats": "log-likelihood of the answer (nats)",
}
SPARE = (series.GREEN, series.PURPLE, series.AMBER, series.SKY)
STYLE: Any = {
    "axes.grid": True, "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": "#9CA3AF", "axes.titlesize": 12, "axes.titleweight": "bold", "axes.titlepad": 26,
    "axes.titlelocation": "left", "grid.color": "#E5E7EB", "grid.linewidth": 0.8, "font.size": 10,
    "legend.frameon": False,
    "text.parse_math": False,  # a `$` in a name is a `$`
}  # fmt: skip


@contextmanager
def canvas(
    path: Path, width: float = 7.0, height: float = 4.2, panels: tuple[int, ...] = (1,)
) -> Iterator[list[Axes]]:
    """Yield the axes of a new figure, one above the other, and save it to `path` at the end; pyplot is not used."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure: Figure = Figure(figsize=(width, height), layout="constrained", dpi=150)
        FigureCanvasAgg(figure)
        yield list(figure.subplots(len(panels), 1, squeeze=False, height_ratios=panels)[:, 0])
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png")


def title(axes: Any, heading: str, subtitle: str, share: float = 1.0) -> None:
    """Write a bold heading and below it one line on the subject, cut to its share of the width."""
    axes.set_title(heading, loc="left")
    width = int(axes.get_figure(root=True).get_figwidth() * 11 * share)
    line = textwrap.shorten(numbers.plain(subtitle), width, placeholder=" …")
    axes.annotate(line, (0, 1), (0, 8), xycoords="axes fraction", textcoords="offset points", color="#4B5563")


def name(text: str) -> str:
    """Shorten a name for a label, without the leading underscore that would make matplotlib hide it."""
    text = numbers.plain(text).lstrip("_")
    return text if len(text) <= NAME_LENGTH else f"{text[: NAME_LENGTH - 1]}…"


def colour(position: int) -> str:
    """Pick a colour for a series that has none of its own."""
    return SPARE[position % len(SPARE)]


def axis_label(row: Row) -> str:
    """Label an axis: `hazard_acc (share of items, lower is better)`."""
    unit = numbers.unit(row.metric)
    if unit == "share":
        unit = "0 to 1" if row.chance is None else "share of items"
    wanted = f", {row.goal} is better" if row.goal in ("lower", "higher") else ""
    return f"{name(row.metric)} ({unit}{wanted})"


def write_plots(run: Run) -> list[Path]:
    """Draw `before_after.png`: error bars and chance marked, perplexities and log-likelihoods on axes of their own.

    The curves of a run are only in its page, where they can be read out and follow the reader's colours.
    """
    panels = [[row for row in run.rows if numbers.unit(row.metric) == unit] for unit in AXES]
    panels = [rows for rows in panels if any(_finite(row) for row in rows)]
    if not panels:
        return []
    path = run.path / "before_after.png"
    heights = tuple(len(rows) for rows in panels)
    with canvas(path, 7.0, 1.2 + 0.7 * len(panels) + 0.55 * sum(heights), heights) as axes:
        for axis, rows in zip(axes, panels, strict=True):
            _bars(axis, rows)
        compared = any(row.before.value is not None for row in run.rows)
        title(axes[0], "Before and after" if compared else "Scores", run.title, 0.6)
        _figure_legend(axes[0])
    return [path]


def _finite(row: Row) -> bool:
    return any(numbers.finite(score.value) is not None for score in (row.before, row.after))


def _bars(axes: Axes, rows: list[Row]) -> None:
    for place, row in enumerate(rows):
        for when, offset, shade in (("before", -0.19, "#B8C2CC"), ("after", 0.19, series.RETAIN)):
            score: Score = getattr(row, when)
            number = numbers.finite(score.value)
            if number is not None:
                bar: dict[str, Any] = {
                    "xerr": score.half,
                    "error_kw": {"capsize": 2.5, "elinewidth": 1},
                }
                axes.barh(place + offset, number, 0.36, color=shade, label=when, **bar)
        if row.chance is not None:
            axes.plot(
                [row.chance] * 2,
                [place - 0.42, place + 0.42],
                color=series.CHANCE,
                linewidth=2,
                label="chance",
            )
    axes.set_yticks(range(len(rows)), [f"{name(r.metric)}\n{_wish(r)}" for r in rows])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    unit = numbers.unit(rows[0].metric)
    axes.set_xlabel(AXES[unit])
    if unit == "share":
        axes.set_xlim(0, 1.04)


def _wish(row: Row) -> str:
    return f"{numbers.plain(row.role)[:12]}, want {row.goal}" if row.goal in ("lower", "higher") else ""


def _figure_legend(axes: Axes) -> None:
    handles = {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure: Any = axes.figure
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)
