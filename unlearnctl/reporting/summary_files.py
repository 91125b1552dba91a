"""Write a summary to files: summary.md, summary.csv, summary.png, pareto.png and parallel.png."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from unlearnctl.reporting.markdown import escape, table
from unlearnctl.reporting.summary import FRONT, Member, Summary, legend, metric_name
from unlearnctl.reporting.summary_columns import cell, short
from unlearnctl.reporting.summary_plot import scatter_png
from unlearnctl.reporting.summary_trade import cells, parallel_png, pareto_png, sentence
from unlearnctl.results.run import Row
from unlearnctl.utils import numbers
from unlearnctl.utils.atomic import write_atomically


def write_summary(summary: Summary, folder: Path) -> list[Path]:
    """Write all files; return their paths."""
    texts = {"summary.md": markdown(summary), "summary.csv": as_csv(summary)}
    for name, text in texts.items():
        write_atomically(folder / name, text)
    drawn = [
        *scatter_png(summary, folder / "summary.png"),
        *pareto_png(summary, folder / "pareto.png"),
        *parallel_png(summary, folder / "parallel.png"),
    ]
    return [*(folder / name for name in texts), *drawn]


def markdown(summary: Summary) -> str:
    """Write a table with before → after and 95 % intervals, and the failed runs below it."""
    several = len({suite for suite, _ in summary.metrics}) > 1
    head = ["#", *(short(key, summary.columns) for key in summary.columns)]
    head += [metric_name(summary, metric, several) for metric in summary.metrics] + ["status", "run"]
    lines = []
    for number, member in enumerate(summary.members, 1):
        mark = f" {FRONT}" if number - 1 in summary.front else ""
        settings = [cell(member.config, key) for key in summary.columns]
        scores = [_change(member, metric) for metric in summary.metrics]
        lines.append([f"{number}{mark}", *settings, *scores, member.status, f"{member.run.path.name}"])
    shown = table(head, lines) if summary.members else []
    failed = [f"- {escape(path)}: {escape(why)}" for path, why in summary.failed]
    parts = ["# Summary", "\n".join(shown), legend(summary), sentence(summary)]
    parts += ["## Failed or missing", "\n".join(failed)] if failed else []
    running = [f"- {escape(path)}: {escape(who)}" for path, who in summary.running]
    parts += ["## Running", "\n".join(running)] if running else []
    return "\n\n".join(part for part in parts if part) + "\n"


def _change(member: Member, metric: tuple[str, str]) -> str:
    row = member.row(metric)
    after = numbers.with_error(row.after.value, row.after.half, row.metric)
    return after if row.before.value is None else f"{numbers.value(row.before.value, row.metric)} → {after}"


def as_csv(summary: Summary) -> str:
    """Write full precision, every differing key, and one row per run, including failed ones."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    scores = [f"{'.'.join(metric)}.{part}" for metric in summary.metrics for part in _parts(Row("", ""))]
    trade = ["forgotten", "retained", "hypervolume"]
    writer.writerow(["run", "status", *summary.keys, *scores, *trade])
    for member, shares in zip(summary.members, cells(summary), strict=True):
        settings = [cell(member.config, key) if key in member.config else "" for key in summary.keys]
        rows = [member.row(metric) for metric in summary.metrics]
        values = ["" if part is None else repr(part) for row in rows for part in _parts(row).values()]
        writer.writerow([member.run.path, member.status, *settings, *values, *shares])
    left = [(path, f"failed: {why}") for path, why in summary.failed]
    for path, word in [*left, *((path, "running") for path, _ in summary.running)]:
        writer.writerow([path, word, *[""] * (len(summary.keys) + len(scores) + len(trade))])
    return out.getvalue()


def _parts(row: Row) -> dict[str, float | None]:
    before, after = row.before, row.after
    return {
        "before": before.value,
        "before_stderr": before.stderr,
        "after": after.value,
        "after_stderr": after.stderr,
    }
