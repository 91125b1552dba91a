"""Show what `unlearnctl tune` saw of the untouched model: a table by block, two curves, and what they suggest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from unlearnctl.reporting import svg
from unlearnctl.reporting.series import Line
from unlearnctl.utils import numbers

EVERYWHERE = 0.9  # told apart so well in every block, texts point at none
ROWS = 16  # of the table; deeper models show every second block, every third, ...
Look = Mapping[str, Any]  # what look.json holds


def print_look(look: Look, console: Console | None = None) -> None:
    """Print the table and the two lines below it."""
    console = console or Console()
    blocks, n = look["blocks"], sum(look["texts"].values())
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for column in ("block", "share", "norm", "sinks", "first token", "told apart"):
        table.add_column(column, justify="right", no_wrap=True)
    for each in shown(blocks):
        half = numbers.Z95 * _error(each["apart"], n)
        table.add_row(
            str(each["block"]),
            f"{each['block'] / len(blocks):.2f}",
            f"{each['median']:.3g}",
            f"{100 * each['sinks']:.2g} %" if each["sinks"] else "none",
            f"{100 * each['first']:.0f} %" if each["sinks"] else "",
            f"{each['apart']:.2f} ± {half:.2f}",
        )
    console.print(table)
    for line in lines(look):
        console.print(line, style="dim", soft_wrap=True, highlight=False)


def shown(blocks: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Pick every k-th block, and the last one."""
    every = -(-len(blocks) // ROWS)
    return [each for place, each in enumerate(blocks) if place % every == 0 or place == len(blocks) - 1]


def lines(look: Look) -> list[str]:
    """Say what the columns mean, how large matrices are, and what the look suggests."""
    texts, n = look["texts"], sum(look["texts"].values())
    chance = max(texts.values()) / n
    rms = ", ".join(f"{kind} {size:.3g}" for kind, size in look["rms"].items())
    return [
        "norm: median over tokens. sinks: tokens above ten times that. first token: share of texts in which it is one. "
        f"told apart: {texts['forget']} forget and {texts['retain']} retain texts, by a linear rule, each left out in "
        f"turn (guessing: {chance:.2f}).",
        f"RMS of matrices: {rms}; of what trains here: {look['trained']:.3g}.",
        suggestion(look),
    ]


def suggestion(look: Look) -> str:
    """Name the blocks where the texts are told apart as well as anywhere and no first token is a sink (our reading)."""
    blocks, n = look["blocks"], sum(look["texts"].values())
    shares = [float(each["apart"]) for each in blocks]
    best, worst = max(shares), min(shares)
    if worst >= EVERYWHERE:
        return f"This suggests no layer: texts are told apart in every block, {worst:.2f} of them or more."
    alike = [each for each in blocks if each["apart"] >= best - _error(best, n)]
    free = [each["block"] for each in alike if each["first"] < 0.5]
    if not free:
        return "This suggests no layer: where texts are told apart best, first tokens are sinks."
    first, last = free[0], _run(free)
    what = f"layer {first}" if first == last else f"layers {first} to {last}"
    return (
        f"This suggests {what} (of {len(blocks)} blocks): texts are told apart as well as anywhere, within the error, "
        "and no first token is a sink. The search does not rely on it."
    )


def _run(blocks: Sequence[int]) -> int:
    """Return the last of the blocks that follow the first one without a gap."""
    last = blocks[0]
    while last + 1 in blocks:
        last += 1
    return last


def _error(share: float, n: int) -> float:
    return float((share * (1 - share) / n) ** 0.5)


def look_charts(look: Look) -> list[svg.Chart]:
    """Draw separability and token norms by block."""
    blocks = look["blocks"]
    apart = Line("told apart", [(each["block"], each["apart"]) for each in blocks])
    norm = Line("median norm", [(each["block"], each["median"]) for each in blocks])
    sinks = Line("first token is a sink", [(each["block"], each["first"]) for each in blocks])
    n = sum(look["texts"].values())
    drawn = [
        svg.curves("apart", "Forget and retain told apart", f"{n} texts, each left out in turn", "score (0 to 1)",
                   [apart, sinks], {}, "block"),
        svg.curves("norms", "Token norms", "median over tokens", "norm", [norm], {}, "block"),
    ]  # fmt: skip
    return [chart for chart in drawn if chart]
