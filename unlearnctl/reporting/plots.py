"""PNG plots of a run. matplotlib is imported when one is drawn, on its Agg canvas (no display)."""

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

COLOURS = {"total": series.GREY, "forget": series.FORGET, "retain": series.RETAIN}
NAME_LENGTH = 32
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
    """Axes of a new figure, one above the other, saved to `path` at the end. No pyplot, no state."""
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
    """A bold heading and, below it, what it is about: one line, cut to its share of the width."""
    axes.set_title(heading, loc="left")
    width = int(axes.get_figure(root=True).get_figwidth() * 11 * share)
    line = textwrap.shorten(numbers.plain(subtitle), width, placeholder=" …")
    axes.annotate(line, (0, 1), (0, 8), xycoords="axes fraction", textcoords="offset points", color="#4B5563")


def log_axis(axes: Axes) -> None:
    """A logarithmic y axis with plain numbers: matplotlib's own labels are math text, which is switched off here."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def name(text: str) -> str:
    """A name short enough for a label; matplotlib would hide one with a leading underscore."""
    text = numbers.plain(text).lstrip("_")
    return text if len(text) <= NAME_LENGTH else f"{text[: NAME_LENGTH - 1]}…"


def colour(term: str, position: int) -> str:
    """The fixed colour of a loss term or role, else the next spare one."""
    return COLOURS.get(term, SPARE[position % len(SPARE)])


def write_plots(run: Run) -> list[Path]:
    """All plots for which the run has data."""
    made = (losses_png(run), plane_png(run), scores_png(run), meta_png(run))
    return [path for path in made if path is not None]


def losses_png(run: Run) -> Path | None:
    """Loss terms over steps."""
    lines = series.losses(run)
    if not lines:
        return None
    path = run.path / "losses.png"
    with canvas(path) as (axes,):
        for i, line in enumerate(lines):
            total = line.name == "total"
            axes.plot(
                *zip(*line.points, strict=True),
                label=name(line.name),
                color=colour(line.name, i),
                linewidth=1.2 if total else 1.8,
                linestyle=(0, (4, 2)) if total else "-",
                marker="o" if len(line.points) < 3 else None,
            )
        if series.wants_log(lines):
            log_axis(axes)
        axes.set(xlabel="optimiser step", ylabel="loss (terms before weighting)")
        title(axes, "Loss terms", run.title)
        axes.legend(ncols=min(len(lines), 4))
    return path


def meta_png(run: Run) -> Path | None:
    """What a meta-learned run set, and what it brought."""
    panels = [lines for lines in (series.knobs(run), series.outcomes(run)) if lines]
    if not panels:
        return None
    path = run.path / "meta.png"
    with canvas(path, 7.0, 1.4 + 2.4 * len(panels), (1,) * len(panels)) as axes:
        for axis, lines in zip(axes, panels, strict=True):
            scored = lines[0].name == "forgotten"
            for i, line in enumerate(lines):
                shade = {"forgotten": series.FORGET, "retained": series.RETAIN}.get(line.name, colour("", i))
                axis.plot(
                    *zip(*line.points, strict=True), label=name(line.name), color=shade, marker=".",
                    drawstyle="default" if scored else "steps-post",
                )  # fmt: skip
            axis.set_xlabel(series.action_axis(run))
            axis.legend(ncols=3)
            if scored:
                axis.set_ylim(-0.03, 1.03)
            else:
                log_axis(axis)
                axis.set_ylabel("multiple of the config's value")
        title(axes[0], "Learned trade-offs", run.title)
    return path


def plane_png(run: Run) -> Path | None:
    """Forget against retain: before → after, and the path between them."""
    plane = series.plane(run)
    if plane is None:
        return None
    path = run.path / "forget_retain.png"
    with canvas(path, 5.6, 5.0) as (axes,):
        if plane.trail:
            axes.plot([x for _, x, _ in plane.trail], [y for _, _, y in plane.trail], color=series.GREY,
                      linewidth=1, marker=".", markersize=6, label="during training", zorder=2)  # fmt: skip
        for when, x, y in plane.ends:
            _end_point(axes, when, x, y, getattr(plane.retain, when), getattr(plane.forget, when))
        chance_lines(axes, plane.forget, plane.retain)
        label_plane(axes, plane.forget, plane.retain)
        title(axes, "Forgotten against kept", run.title)
        axes.legend(loc="best")
    return path


def _end_point(axes: Axes, when: str, x: float, y: float, retain: Score, forget: Score) -> None:
    first = when == "before"
    bars: dict[str, Any] = {
        "xerr": retain.half,
        "yerr": forget.half,
    }
    axes.errorbar(x, y, **bars, fmt="o", markersize=9, capsize=3, label=when, zorder=4, color=series.RETAIN,
                  markerfacecolor="white" if first else series.RETAIN, markeredgewidth=1.8)  # fmt: skip


def chance_lines(axes: Axes, forget: Row, retain: Row) -> None:
    """Where guessing would score, on either axis."""
    style: dict[str, Any] = {"color": series.CHANCE, "linestyle": ":", "linewidth": 1.4, "zorder": 1}
    if forget.chance is not None:
        axes.axhline(forget.chance, label="chance", **style)
    if retain.chance is not None:
        axes.axvline(retain.chance, label="" if forget.chance is not None else "chance", **style)


def label_plane(axes: Axes, forget: Row, retain: Row) -> None:
    """Axis labels that say which way is wanted, and limits that show shares whole."""
    axes.set_xlabel(f"kept: {axis_label(retain)}")
    axes.set_ylabel(f"forgotten: {axis_label(forget)}")
    if not numbers.is_perplexity(forget.metric):
        axes.set_ylim(-0.03, 1.03)
    if not numbers.is_perplexity(retain.metric):
        axes.set_xlim(-0.03, 1.03)


def axis_label(row: Row) -> str:
    """`hazard_acc (share of items, lower is better)`."""
    unit = (
        "perplexity"
        if numbers.is_perplexity(row.metric)
        else "0 to 1"
        if row.chance is None
        else "share of items"
    )
    wanted = f", {row.goal} is better" if row.goal in ("lower", "higher") else ""
    return f"{name(row.metric)} ({unit}{wanted})"


def scores_png(run: Run) -> Path | None:
    """Before and after side by side, error bars and chance marked; perplexities on an axis of their own."""
    panels = [[r for r in run.rows if numbers.is_perplexity(r.metric) == ratio] for ratio in (False, True)]
    panels = [rows for rows in panels if any(_finite(row) for row in rows)]
    if not panels:
        return None
    path = run.path / "before_after.png"
    heights = tuple(len(rows) for rows in panels)
    with canvas(path, 7.0, 1.2 + 0.7 * len(panels) + 0.55 * sum(heights), heights) as axes:
        for axis, rows in zip(axes, panels, strict=True):
            _bars(axis, rows)
        compared = any(row.before.value is not None for row in run.rows)
        title(axes[0], "Before and after" if compared else "Scores", run.title, 0.6)
        _figure_legend(axes[0])
    return path


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
    ratio = numbers.is_perplexity(rows[0].metric)
    axes.set_xlabel("perplexity" if ratio else "score (0 to 1), bars: 95 % interval")
    if not ratio:
        axes.set_xlim(0, 1.04)


def _wish(row: Row) -> str:
    return f"{numbers.plain(row.role)[:12]}, want {row.goal}" if row.goal in ("lower", "higher") else ""


def _figure_legend(axes: Axes) -> None:
    handles = {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure: Any = axes.figure
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)
