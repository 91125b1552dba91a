"""Write what attacks brought back to a CSV file and a plot."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnctl.reporting import series
from unlearnctl.reporting.plots import SPARE, canvas, title
from unlearnctl.reporting.plots import name as plain_name
from unlearnctl.reporting.recovered import Entry, bounds, main, rows
from unlearnctl.utils import numbers
from unlearnctl.utils.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = "attack variant worst recovery suite metric role value low high n chance base".split()


def write_robustness(folder: Path, record: Entry) -> list[Path]:
    """Write `robustness.csv`, one line per variant and metric, and `robustness.png`; nothing without attacks."""
    if not record.get("attacks"):
        return []
    table, picture = folder / "robustness.csv", folder / "robustness.png"
    with replacing(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(_lines(record))
    _plot(picture, record)
    return [table, picture]


def _lines(record: Entry) -> Iterator[dict[str, Any]]:
    for entry in rows(record):
        base = entry.get("base") or {}
        for suite, metrics in entry["scores"].items():
            for name, found in metrics.items():
                low, high = bounds(found)
                beside = (base.get(suite) or {}).get(name) or {}
                own = {"suite": suite, "metric": name, "low": low, "high": high, "base": beside.get("value")}
                yield {**found, **entry, **own}


def _plot(path: Path, record: Entry) -> None:
    curves = relearning(record)
    worst = [entry for entry in rows(record) if entry.get("worst") or not entry["attack"]]
    heights = (5, max(2, len(worst))) if curves else (1,)
    with canvas(path, 7.0, (3.2 if curves else 0) + 1.4 + 0.42 * len(worst), heights) as axes:
        if curves:
            _draw_curves(axes[0], curves, record)
        _draw_worst(axes[-1], worst)
        what = (
            "relearning by step, and the worst case of each attack"
            if curves
            else "the worst case of each attack"
        )
        title(axes[0], "What attacks bring back", what)


def relearning(record: Entry) -> dict[str, list[tuple[float, float]]]:
    """Collect (step, forget score) by corpus and learning rate, starting with the unlearned model."""
    found: dict[str, list[tuple[float, float]]] = {}
    start = main({"scores": record.get("after") or {}}, "forget")
    for entry in record.get("attacks") or []:
        settings, value = entry.get("settings") or {}, _value(main(entry, "forget"))
        step, lr = numbers.finite(settings.get("step")), numbers.finite(settings.get("lr"))
        if entry["attack"] == "relearn" and value is not None and step is not None and lr is not None:
            head = [(0.0, first)] if (first := _value(start)) is not None else []
            found.setdefault(f"{settings.get('corpus')}, lr {lr:g}", head).append((step, value))
    return found


def _value(found: tuple[str, Entry] | None, key: str = "value") -> float | None:
    return numbers.finite(found[1].get(key)) if found else None


def _draw_curves(axes: Axes, curves: Mapping[str, list[tuple[float, float]]], record: Entry) -> None:
    for place, (name, points) in enumerate(curves.items()):
        axes.plot(
            *zip(*points, strict=True),
            marker="o",
            markersize=3,
            label=plain_name(name),
            color=SPARE[place % len(SPARE)],
        )
    found = [main({"scores": record.get(part) or {}}, "forget") for part in ("before", "after")]
    if (before := _value(found[0])) is not None:
        axes.axhline(before, color=series.GREY, linestyle="--", label="untouched model")
    if found[1]:
        if (chance := _value(found[1], "chance")) is not None:
            axes.axhline(chance, color=series.CHANCE, linestyle=":", label="chance")
        axes.set_ylabel(plain_name(found[1][0]))
    axes.set_xlabel("optimiser step of the attack")
    axes.set_ylim(-0.03, 1.05)
    axes.legend(ncols=2, fontsize=8)


def _draw_worst(axes: Axes, worst: Sequence[Entry]) -> None:
    for place, entry in enumerate(worst):
        metric = main(entry, "forget")
        value = _value(metric)
        if metric is None or value is None:
            continue
        low, high = bounds(metric[1])
        error = None if low is None or high is None else [[max(0.0, value - low)], [max(0.0, high - value)]]
        shade = series.FORGET if entry["attack"] else series.GREY
        axes.barh(place, value, 0.6, xerr=error, color=shade, error_kw={"capsize": 2.5, "elinewidth": 1})
        if (chance := _value(metric, "chance")) is not None:
            axes.plot([chance] * 2, [place - 0.4, place + 0.4], color=series.CHANCE, linewidth=2)
    axes.set_yticks(range(len(worst)), [_label(entry) for entry in worst], fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, 1.04)
    axes.set_xlabel("forget score; bars: 95 % interval; upright marks: chance")


def _label(entry: Entry) -> str:
    text = numbers.plain(": ".join(filter(None, (entry["attack"], entry["variant"]))))
    return text if len(text) <= 44 else f"{text[:43]}…"
