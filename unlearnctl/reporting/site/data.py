"""What the page of several runs holds, as plain data: scores in full, texts as they are.

`templates/site/dom.js` unpacks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unlearnctl.reporting.site.details import details
from unlearnctl.reporting.site.pack import coded, room, shared, short
from unlearnctl.reporting.summary import Summary
from unlearnctl.reporting.summary_columns import cell
from unlearnctl.reporting.summary_columns import short as short_key
from unlearnctl.results.run import Row, Score
from unlearnctl.utils import numbers

SHARES = ("retained share", "forgotten share", "hypervolume")  # these mean the same for every run

Json = dict[str, Any]
Key = tuple[str, str]


def page_data(summary: Summary, probes: Sequence[Json]) -> Json:
    """Collect everything that the script of the page draws, as JSON without NaN."""
    metrics, members = whole_metrics(summary), summary.members
    columns = [(short_key(key, summary.columns), summary.keys.index(key)) for key in summary.columns]
    cells = len(members) * (len(columns) + len(metrics) + 6)
    return {
        "axes": [_axis(summary, metric) for metric in metrics] + [_share_axis(name) for name in SHARES],
        "start": _start(summary, metrics),
        "keys": summary.keys,
        "columns": columns,
        "count": len(members),
        "names": None if columns else [summary.label(member) for member in members],
        "config": [coded([cell(member.config, key) for member in members]) for key in summary.keys],
        "values": [_values([member.row(metric) for member in members]) for metric in metrics]
        + _shares(summary),
        **details(summary, room(cells)),
        "probes": list(probes),
    }


def whole_metrics(summary: Summary) -> list[Key]:
    """Pick the metrics that are not part of another: `mmlu`, not `mmlu/anatomy`."""
    return [metric for metric in summary.metrics if not summary.row(metric).subject]


def _axis(summary: Summary, metric: Key) -> Json:
    row, several = summary.row(metric), len({suite for suite, _ in summary.metrics}) > 1
    return {
        "name": "/".join(metric) if several else metric[1],
        "role": row.role,
        "goal": row.goal,
        "chance": row.chance,
        "share": numbers.is_share(row.metric),
        "digits": numbers.decimals(row.metric),
    }


def _share_axis(name: str) -> Json:
    return {"name": name, "role": "", "goal": "higher", "chance": None, "share": True, "digits": 3}


def _start(summary: Summary, metrics: Sequence[Key]) -> list[int]:
    """Choose the first two axes: a retain and a forget metric, otherwise the first two."""
    if summary.pair is None:
        return [0, min(1, len(metrics) + len(SHARES) - 1)]
    forget, retain = summary.pair
    return [metrics.index((row.suite, row.metric)) for row in (retain, forget)]


def _values(rows: Sequence[Row]) -> list[Any]:
    """Return columns over the runs: before, half of its 95 % interval, after, half of its interval."""
    sides = [[row.before for row in rows], [row.after for row in rows]]
    return [
        shared([read(score) for score in scores])
        for scores in sides
        for read in (lambda score: numbers.finite(score.value), _half)
    ]


def _half(score: Score) -> float | None:
    half = numbers.finite(score.half)
    return None if half is None else short(half, 5)


def _shares(summary: Summary) -> list[list[Any]]:
    known = [summary.trades.get(place) for place in range(len(summary.members))]
    columns = (
        [point and getattr(point, name) for point in known]
        for name in ("retained", "forgotten", "hypervolume")
    )
    return [[None, None, shared(column) if column else None, None] for column in columns]


def place_of(run: Path, folder: Path) -> str:
    """Return the path of a run relative to the page, or in full if the run is elsewhere."""
    here, there = folder.absolute(), run.absolute()
    return there.relative_to(here).as_posix() if there.is_relative_to(here) else str(run)
