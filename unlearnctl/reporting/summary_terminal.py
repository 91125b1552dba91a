"""Print a summary in the terminal: settings and scores after, as many as fit."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from unlearnctl.reporting.summary import FRONT, Member, Summary, legend, metric_name
from unlearnctl.reporting.summary_columns import cell, short
from unlearnctl.reporting.terminal import as_text, speaks_utf8
from unlearnctl.utils import numbers

WIDEST = 24  # longer settings fold
MOST_NAMED = 20  # runs without results
MOST = 100  # rows; of more, those on the front and then the first ones


def print_summary(summary: Summary, console: Console | None = None) -> None:
    """Print the table as far as it fits: settings, then scores after, with the common 'before' on top."""
    console = console or Console()
    utf8 = speaks_utf8(console)
    shown = _fitting(summary, console.width)
    if summary.members:
        console.print(_table(summary, shown, utf8))
        hidden = len(summary.metrics) - len(shown)
        note = f"Scores after. {legend(summary).partition('; ')[2]}"
        if (more := len(summary.members) - MOST) > 0:
            note += f" {more} more runs in summary.csv."
        console.print(
            as_text(f"{note} {hidden} more metrics in summary.csv." if hidden else note, utf8, "dim")
        )
    for word, left, style in (("running", summary.running, "bold"), ("failed", summary.failed, "red")):
        for path, why in left[:MOST_NAMED]:
            console.print(as_text(f"{word}: {numbers.plain(path)}: {numbers.plain(why)}", utf8, style))
        if len(left) > MOST_NAMED:
            console.print(
                as_text(f"{word}: {len(left) - MOST_NAMED} more, all of them in summary.md", utf8, style)
            )
    if summary.failed or summary.running:
        console.print(as_text(left_out(summary), utf8, "bold"))


def left_out(summary: Summary) -> str:
    """Say `3 of 12 runs left out: 2 without readable results, 1 running`."""
    without, running = len(summary.failed), len(summary.running)
    counts = [f"{without} without readable results"] * bool(without) + [f"{running} running"] * bool(running)
    count = without + running
    return f"{count} of {count + len(summary.members)} runs left out: {', '.join(counts)}"


def _header(name: str) -> str:
    """Stack the words of a heading, because names are long and numbers are short."""
    return name.replace("_", "_\n").replace(" ", "\n")


def _settings(summary: Summary) -> dict[str, int]:
    """Return columns of settings and their widths; the first also has room for the word `before`."""
    widths = {}
    for position, key in enumerate(summary.columns):
        entries = [cell(member.config, key) for member in summary.members]
        entries += [short(key, summary.columns), "" if position else "before"]
        widths[key] = min(max(map(len, entries)), WIDEST)
    return widths


def _fitting(summary: Summary, width: int) -> list[tuple[str, str]]:
    """Pick the metrics that fit beside the settings, the two most important ones first."""
    room = width - len(str(len(summary.members))) - 3 - sum(size + 2 for size in _settings(summary).values())
    first = [(row.suite, row.metric) for row in summary.pair or ()]
    shown: list[tuple[str, str]] = []
    for metric in dict.fromkeys([*first, *summary.metrics]):
        needed = max(6, *map(len, _header(metric[1]).split("\n"))) + 2
        if needed <= room or not shown:
            shown.append(metric)
            room -= needed
    return sorted(shown, key=summary.metrics.index)


def _table(summary: Summary, shown: list[tuple[str, str]], utf8: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD if utf8 else box.ASCII2, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("#", justify="right", no_wrap=True)
    for key, width in _settings(summary).items():
        table.add_column(as_text(short(key, summary.columns), utf8), overflow="fold", width=width)
    for metric in shown:
        name = as_text(_header(metric_name(summary, metric, False)), utf8)
        table.add_column(name, justify="right", no_wrap=True)
    if summary.baseline:
        blanks = [""] * len(summary.columns[1:])
        first = ["before"] if summary.columns else []
        table.add_row(
            "", *first, *blanks, *_scores(summary.baseline, shown, "before"), style="dim", end_section=True
        )
    for place in _places(summary):
        member, mark = summary.members[place], FRONT if place in summary.front else " "
        settings = [as_text(cell(member.config, key), utf8) for key in summary.columns]
        table.add_row(as_text(f"{place + 1}{mark}", utf8), *settings, *_scores(member, shown, "after"))
    return table


def _places(summary: Summary) -> list[int]:
    """Pick the rows of the terminal's table."""
    ranked = sorted(range(len(summary.members)), key=lambda place: place not in summary.front)
    return sorted(ranked[:MOST])


def _scores(member: Member, metrics: list[tuple[str, str]], when: str) -> list[str]:
    rows = [member.row(metric) for metric in metrics]
    return [numbers.value(getattr(row, when).value, row.metric) for row in rows]
