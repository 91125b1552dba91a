"""Show what attacks brought back, as a table in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unlearnctl.utils import numbers

Entry = Mapping[str, Any]
Line = list[str]


def rows(record: Entry) -> list[Entry]:
    """List the rows of the attacks, below the unlearned model and, if known, the untouched one."""
    ends = [("", "untouched model", record.get("before")), ("", "unlearned model", record.get("after"))]
    heads = [
        {"attack": a, "variant": v, "scores": s, "recovery": None, "worst": False, "settings": {}}
        for a, v, s in ends
        if s
    ]
    return [*heads, *(record.get("attacks") or [])]


def main(entry: Entry, role: str) -> tuple[str, Entry] | None:
    """Pick the first metric of a role: its name and what was measured."""
    for metrics in entry["scores"].values():
        for name, metric in metrics.items():
            if metric.get("role") == role:
                return name, metric
    return None


def bounds(metric: Entry) -> tuple[float | None, float | None]:
    """Return the 95 % interval: the recorded one, otherwise from the standard error."""
    if metric.get("interval"):
        low, high = map(numbers.finite, metric["interval"])
        return (low, high) if low is not None and high is not None else (None, None)
    value, stderr = (numbers.finite(metric.get(key)) for key in ("value", "stderr"))
    if value is None or stderr is None:
        return None, None
    half = numbers.Z95 * stderr
    if metric.get("chance") is None:
        return value - half, value + half
    return max(0.0, value - half), min(1.0, value + half)  # a metric with a chance level is a share


def cell(found: tuple[str, Entry] | None) -> str:
    """Format `0.312 [0.245, 0.388]`."""
    if found is None:
        return numbers.MISSING
    name, metric = found
    low, high = bounds(metric)
    value = numbers.value(numbers.finite(metric.get("value")), name)
    return value if low is None else f"{value} [{numbers.value(low, name)}, {numbers.value(high, name)}]"


def short(found: tuple[str, Entry] | None, interval: bool) -> str:
    """Format the same with two decimals, for 80 columns: `0.31 [0.25, 0.39]`."""
    value = numbers.finite(found[1].get("value")) if found else None
    if found is None or value is None:
        return numbers.MISSING
    low, high = bounds(found[1])
    return f"{value:.2f} [{low:.2f}, {high:.2f}]" if interval and low is not None else f"{value:.2f}"


def share(entry: Entry) -> str:
    """Format the recovered share in per cent."""
    found = numbers.finite(entry.get("recovery"))
    return numbers.MISSING if found is None else f"{100 * found:.0f} %"


def print_robustness(record: Entry, console: Console | None = None) -> None:
    """Print one line per variant with its first forget and retain metric; the files have all metrics."""
    console = console or Console()
    found = rows(record)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for name, way in (
        ("attack", "left"),
        ("variant", "left"),
        ("forget", "right"),
        ("back", "right"),
        ("retain", "right"),
    ):
        table.add_column(name, justify=way, overflow="fold")  # type: ignore[arg-type]
    for entry in found:
        forget, retain = (short(main(entry, role), role == "forget") for role in ("forget", "retain"))
        texts = [entry["attack"], entry["variant"], forget, share(entry), retain]
        table.add_row(
            *(Text(numbers.plain(text)) for text in texts), style="bold" if entry.get("worst") else ""
        )
    console.print(table)
    console.print(Text(numbers.plain(legend(found))), style="dim")


def legend(found: Sequence[Entry]) -> str:
    """Say which metrics the table shows, on how many items, and what the marks mean."""
    shown: dict[str, None] = {}
    for entry in found:
        for role in ("forget", "retain"):
            if metric := main(entry, role):
                chance = numbers.finite(metric[1].get("chance"))
                said = f"n {metric[1].get('n')}" + ("" if chance is None else f", chance {chance:.2f}")
                shown[f"{role}: {metric[0]} ({said})"] = None
    parts = [
        *shown,
        "back: share of the forgotten that came back (for probes: relative to the untouched model)",
        "[ ] 95 % interval",
        "bold: the worst case of each attack, picked on these items",
    ]
    return "; ".join(parts) + "."


def columns(found: Sequence[Entry]) -> list[tuple[str, str, str]]:
    """List (suite, metric, heading) of everything measured, forget metrics first."""
    out: dict[tuple[str, str], tuple[int, str]] = {}
    for entry in found:
        for suite, metrics in entry["scores"].items():
            for name, metric in metrics.items():
                chance = numbers.finite(metric.get("chance"))
                said = f"n {metric.get('n')}" + ("" if chance is None else f", chance {chance:.2f}")
                out.setdefault((suite, name), (metric.get("role") != "forget", f"{name} ({said})"))
    ordered = sorted(out.items(), key=lambda item: item[1][0])
    return [(suite, name, heading) for (suite, name), (_, heading) in ordered]


def page_table(record: Entry) -> tuple[Line, list[tuple[bool, Line]]] | None:
    """Return headings and (worst, cells) of each row for the page; None if nothing was attacked."""
    if not record.get("attacks"):
        return None
    found = rows(record)
    wanted = columns(found)
    lines = []
    for entry in found:
        measured = [entry["scores"].get(suite, {}).get(name) for suite, name, _ in wanted]
        cells = [
            cell((name, m)) if m else numbers.MISSING
            for (_, name, _), m in zip(wanted, measured, strict=True)
        ]
        lines.append((bool(entry.get("worst")), [entry["attack"], entry["variant"], share(entry), *cells]))
    return ["attack", "variant", "back", *(heading for *_, heading in wanted)], lines
