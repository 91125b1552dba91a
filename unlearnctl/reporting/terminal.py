"""Print the before/after table in a terminal: 80 columns, with or without colour, in UTF-8 or ASCII."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unlearnctl.reporting.losses import losses
from unlearnctl.results.run import Row, compare
from unlearnctl.results.schema import is_changed
from unlearnctl.utils import numbers

ARROW = {"lower": "↓", "higher": "↑", "chance": "→"}
MARK = {"good": "✓", "bad": "✗", "same": "≈"}
FLAG = {
    "gibberish": "replies are gibberish", "repetition": "replies repeat themselves", "empty": "replies are empty",
    "over_unlearning": "over-unlearned: forget texts look less familiar than unseen ones",
    "retain_drop": "what should stay is damaged",
    "saturated": "the forget loss was at its end before the first step", "unmoved": "most weights did not change",
    "flat": "the forget loss stayed flat",
    "sinks": "the forget loss is that of tokens that hold no text",
    "flat_rewards": "trainer=meta had nothing to learn from",
}  # fmt: skip
CHANGED = (
    "results.json was changed by hand, or damaged, since the run wrote it (its checksum is not its content's)"
)
STYLE = {"good": "green", "bad": "red", "same": "dim"}


def speaks_utf8(console: Console) -> bool:
    """Tell whether arrows and check marks can be printed."""
    return console.encoding.lower().replace("-", "").startswith("utf")


def results_table(rows: list[Row], *, utf8: bool = True) -> Table:
    """Build a table with one line per metric; an evaluation without a 'before' has fewer columns."""
    compared = any(row.before.value is not None for row in rows)
    table = Table(box=box.SIMPLE_HEAD if utf8 else box.ASCII2, padding=(0, 1), pad_edge=False)
    table.add_column("metric", overflow="fold", min_width=12)
    for name in ["before", "after", "chance", "n", "change"] if compared else ["value", "chance", "n"]:
        table.add_column(name, justify="right", no_wrap=True)
    several = len({row.suite for row in rows}) > 1
    previous = None
    for row in rows:
        if previous is not None and row.role != previous:
            table.add_section()
        table.add_row(*_cells(row, compared, several, utf8))
        previous = row.role
    return table


def _cells(row: Row, compared: bool, several: bool, utf8: bool) -> list[Text]:
    name = f"{row.suite}/{row.metric}" if several else row.metric
    label = f"{numbers.plain(name)} {ARROW.get(row.goal, '')}".rstrip()
    before, after = (numbers.with_error(s.value, s.half, row.metric) for s in (row.before, row.after))
    chance, n = numbers.value(row.chance, row.metric), numbers.MISSING if row.n is None else str(row.n)
    cells = [label, before, after, chance, n] if compared else [label, after, chance, n]
    texts = [as_text(cell, utf8) for cell in cells]
    if compared:
        mark = MARK.get(row.verdict, " ")
        texts.append(
            as_text(f"{numbers.change(row.change, row.metric)} {mark}", utf8, STYLE.get(row.verdict, ""))
        )
    return texts


def as_text(content: str, utf8: bool, style: str = "") -> Text:
    """Return `Text`, so that rich never reads markup in a name, in ASCII if UTF-8 cannot be printed."""
    if not utf8:
        content = content.translate(numbers.ASCII).encode("ascii", "replace").decode()
    return Text(content, style=style)


def legend(rows: list[Row]) -> str:
    """Say what ±, the arrows and the marks mean, and what they do not show."""
    compared = any(row.change is not None for row in rows)
    said = ["± half of the 95 % interval (Wilson, bootstrap)", "↓ ↑ wanted direction"]
    if any(row.goal == "chance" for row in rows):
        said[-1] += ", → wanted at chance"
    if compared:
        said.append("✓ better, ✗ worse, ≈ not significant (paired test, p ≥ .05)")
    if any(score.half == 0 for row in rows for score in (row.before, row.after)):
        said.append("± 0 only means that all n items agreed")
    return "; ".join(said) + "."


def print_comparison(results: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the table of a results.json (as a mapping), its legend, and what is raised."""
    console = console or Console()
    rows, utf8 = compare(results), speaks_utf8(console)
    if rows:
        console.print(results_table(rows, utf8=utf8))
        console.print(as_text(legend(rows), utf8, "dim"))
    else:
        console.print(Text("Nothing was evaluated."))
    for line in losses(results):
        console.print(as_text(line, utf8))
    for flag in raised(results):
        console.print(as_text(flag, utf8, "bold red"))


def raised(results: Mapping[str, Any]) -> list[str]:
    """Return a sentence if a results.json was changed, and one for each flag that is raised, with what to turn."""
    found = results.get("flags")
    said = [CHANGED] if is_changed(results) else []
    for flag in found if isinstance(found, list) else []:
        value, bound = (
            numbers.finite(flag.get(k)) if isinstance(flag, dict) else None for k in ("value", "bound")
        )
        if value is not None and bound is not None and flag.get("raised"):  # skip an odd shape
            name, metric = (numbers.plain(str(flag.get(k) or "")) for k in ("name", "metric"))
            advice = numbers.plain(str(flag.get("advice") or ""))
            line = f"{FLAG.get(name, name)} ({metric}): {_short(value)}, bound {_short(bound)}"
            said.append(f"{line}; {advice}" if advice else line)
    return said


def _short(value: float) -> str:
    return f"{value:.2f}" if not 0 < abs(value) < 0.01 else f"{value:.1g}"
