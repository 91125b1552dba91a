"""Show the strength curve of a repair: a table, a CSV file and a plot."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from unlearnctl.reporting import series
from unlearnctl.reporting.plots import canvas, title
from unlearnctl.utils.atomic import replacing

COLUMNS = ("strength", "forgotten", "retained", "damage")


def print_curve(record: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the damage before and after, and what each strength did on the validation items."""
    console = console or Console()
    modules = record["modules"].values()
    before, after = (sum(m[key] for m in modules) for key in ("damage_before", "damage_after"))
    console.print(
        f"{record['method']}, strength {record['strength']:g}: damage on retained text {before:.4g} -> {after:.4g} "
        f"over {len(record['modules'])} modules; {len(record['untouched'])} changed tensors left as they were",
        highlight=False,
    )
    if not record["curve"]:
        return
    table = Table(box=box.SIMPLE_HEAD)
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for row in record["curve"]:
        mark = " (chosen)" if row["strength"] == record["strength"] else ""
        table.add_row(f"{row['strength']:g}{mark}", *(f"{row[c]:.3g}" for c in COLUMNS[1:]))
    console.print(table)
    console.print(
        "shares of the base model's scores, on the validation items; chosen: their largest product",
        style="dim",
    )


def write_curve(folder: Path, record: Mapping[str, Any]) -> list[Path]:
    """Write `repair_curve.csv` and `repair_curve.png`; nothing if no strengths were tried."""
    if not record["curve"]:
        return []
    table, picture = folder / "repair_curve.csv", folder / "repair_curve.png"
    with replacing(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(record["curve"])
    forgotten, retained = ([row[key] for row in record["curve"]] for key in ("forgotten", "retained"))
    with canvas(picture) as (axes,):
        axes.plot(forgotten, retained, color=series.RETAIN, marker="o")
        for row in record["curve"]:
            weight = "bold" if row["strength"] == record["strength"] else "normal"
            axes.annotate(
                f"{row['strength']:g}",
                (row["forgotten"], row["retained"]),
                (5, 5),
                textcoords="offset points",
                fontsize=8,
                fontweight=weight,
            )
        axes.set_xlabel("forgotten share")
        axes.set_ylabel("retained share")
        title(
            axes,
            "Repair by strength",
            f"{record['method']}; 0 is the unlearned model; bold: chosen; validation items",
        )
    return [table, picture]
