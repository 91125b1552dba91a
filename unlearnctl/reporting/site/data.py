"""What the page of several runs holds, as plain data: numbers in full, texts as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unlearnctl.reporting import numbers, series, texts
from unlearnctl.reporting.runs import Row, Run, Score
from unlearnctl.reporting.summary import Member, Summary, cell, short
from unlearnctl.reporting.summary_trade import points
from unlearnctl.reporting.trade import Trade

POINTS = 120  # of a curve: many runs share one page
SHARES = ("retained share", "forgotten share", "hypervolume")  # of `Trade`: axes that every run has alike

Json = dict[str, Any]
Key = tuple[str, str]


def page_data(summary: Summary, probes: Sequence[Json]) -> Json:
    """Everything that the page's script draws; JSON without NaN."""
    metrics = whole_metrics(summary)
    shares = dict(points(summary))
    return {
        "axes": [_axis(summary, metric) for metric in metrics] + [_share_axis(name) for name in SHARES],
        "start": _start(summary, metrics),
        "keys": summary.keys,
        "runs": [_run(summary, place, metrics, shares.get(place)) for place in range(len(summary.members))],
        "probes": list(probes),
    }


def whole_metrics(summary: Summary) -> list[Key]:
    """Those that are no part of another: `mmlu`, not `mmlu/anatomy`."""
    return [metric for metric in summary.metrics if not summary.row(metric).subject]


def _axis(summary: Summary, metric: Key) -> Json:
    row, several = summary.row(metric), len({suite for suite, _ in summary.metrics}) > 1
    return {
        "name": "/".join(metric) if several else metric[1], "role": row.role, "goal": row.goal,
        "chance": row.chance, "share": not numbers.is_perplexity(row.metric),
        "digits": numbers.decimals(row.metric),
    }  # fmt: skip


def _share_axis(name: str) -> Json:
    return {"name": name, "role": "", "goal": "higher", "chance": None, "share": True, "digits": 3}


def _start(summary: Summary, metrics: Sequence[Key]) -> list[int]:
    """The two axes shown first: what should stay, and what should go; else the first two."""
    if summary.pair is None:
        return [0, min(1, len(metrics) + len(SHARES) - 1)]
    forget, retain = summary.pair
    return [metrics.index((row.suite, row.metric)) for row in (retain, forget)]


def _run(summary: Summary, place: int, metrics: Sequence[Key], shares: Trade | None) -> Json:
    member = summary.members[place]
    run = member.run
    return {
        "label": summary.label(member), "front": place in summary.front,
        "settings": {short(key, summary.columns): cell(member.config, key) for key in summary.columns},
        "config": [cell(member.config, key) for key in summary.keys],
        "values": [_values(member.row(metric)) for metric in metrics] + _share_values(shares),
        "curves": curves(run), "subjects": subjects(member),
        "weights": [[[t, round(w, 3), true] for t, w, true in text] for text in texts.token_weights(run)],
        "samples": {name: [_pair(pair) for pair in found] for name, found in texts.samples(run).items()},
    }  # fmt: skip


def _values(row: Row) -> list[float | None]:
    """Before, half of its 95 % interval, after, half of its."""
    return [*_value(row.before), *_value(row.after)]


def _value(score: Score) -> list[float | None]:
    return [numbers.finite(score.value), numbers.finite(score.half)]


def _share_values(shares: Trade | None) -> list[list[float | None]]:
    if shares is None:
        return [[None] * 4 for _ in SHARES]
    return [[None, None, v, None] for v in (shares.retained, shares.forgotten, shares.hypervolume)]


def curves(run: Run) -> dict[str, list[list[float]]]:
    """Name → [step, value]: losses, gradient norm, in-training evaluations, what a meta-learned run set."""
    lines = {f"loss: {line.name}": line.points for line in series.losses(run)}
    lines |= {line.name.replace("grad_norm", "gradient norm"): line.points for key in ("grad_norm", "lr")
              for line in series.column(run, key)}  # fmt: skip
    lines |= {f"evaluation: {row.metric}": run.trace(row.suite, row.metric) for row in run.rows}
    lines |= {f"meta: {line.name}": line.points for line in (*series.knobs(run), *series.outcomes(run))}
    return {
        name: [[x, float(f"{y:.5g}")] for x, y in series.thin(line, POINTS)]
        for name, line in lines.items()
        if line
    }


def subjects(member: Member) -> dict[str, Json]:
    """`suite/metric` → chance and a row for each of its subjects: name, before ± half, after ± half, n."""
    found: dict[str, Json] = {}
    for (suite, metric), row in member.rows.items():
        if row.subject:
            whole = metric.partition("/")[0]
            group = found.setdefault(f"{suite}/{whole}", {"goal": row.goal, "chance": row.chance, "rows": []})
            group["rows"].append([row.subject, *_values(row), row.n])
    return found


def _pair(pair: texts.Pair) -> list[Any]:
    """Prompt, reply before and after, their scores, whether to blur each of the three."""
    before, after = pair.before, pair.after
    return [
        pair.prompt, *(None if reply is None else reply.text for reply in (before, after)),
        *(None if reply is None else reply.score for reply in (before, after)),
        [pair.toxic, *(reply is not None and reply.toxic for reply in (before, after))],
    ]  # fmt: skip


def holds(data: Mapping[str, Any], part: str) -> bool:
    """Whether any run has something for a section of the page."""
    return any(run[part] for run in data["runs"])


def place_of(run: Path, folder: Path) -> str:
    """A run's directory as seen from the page, or all of it where it is elsewhere."""
    here, there = folder.absolute(), run.absolute()
    return there.relative_to(here).as_posix() if there.is_relative_to(here) else str(run)
