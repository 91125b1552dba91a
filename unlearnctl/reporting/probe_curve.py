"""Show probe accuracy by layer: a table, a CSV file and a plot."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from unlearnctl.reporting import series
from unlearnctl.reporting.plots import canvas, title
from unlearnctl.utils import numbers
from unlearnctl.utils.atomic import replacing
from unlearnctl.utils.errors import UserError

Rows = Sequence[Mapping[str, Any]]
NEEDED = ("layer", "accuracy", "stderr", "control", "n")


def write_probes(folder: Path, manifest: Mapping[str, Any], rows: Rows) -> Rows:
    """Write `probes.csv` and `probes.png`; return the rows with the standard error of each accuracy."""
    n = manifest["held_out"]
    full = [{**row, "stderr": (row["accuracy"] * (1 - row["accuracy"]) / n) ** 0.5, "n": n} for row in rows]
    table = folder / "probes.csv"
    with replacing(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(full[0]))
        writer.writeheader()
        writer.writerows(full)
    layers = [row["layer"] for row in full]
    with canvas(folder / "probes.png") as (axes,):
        errors = [1.96 * row["stderr"] for row in full]
        accuracy, control = ([row[key] for row in full] for key in ("accuracy", "control"))
        axes.errorbar(layers, accuracy, errors, color=series.FORGET, marker="o", capsize=3, label="probe")
        axes.plot(
            layers, control, color=series.GREY, marker="o", linestyle="--", label="control: shuffled labels"
        )
        axes.set_xlabel("layer")
        axes.set_ylabel("held-out accuracy")
        axes.set_ylim(min(0.4, *control) - 0.02, 1.02)
        axes.legend(loc="center right")
        title(
            axes,
            "Probe accuracy by layer",
            f"{n} held-out texts, pooled: {manifest['pool']}; bars: 95 % interval",
        )
    return full


def print_probes(rows: Rows, held_out: int, console: Console | None = None) -> None:
    """Print one line per layer."""
    console = console or Console()
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("layer", "accuracy", "control", "threshold", "neutral mean", "neutral scale"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            str(row["layer"]),
            f"{row['accuracy']:.3f} ± {1.96 * row['stderr']:.3f}",
            f"{row['control']:.3f}",
            *(f"{row[key]:.3g}" for key in ("threshold", "neutral_mean", "neutral_scale")),
        )
    console.print(table)
    console.print(
        f"{held_out} held-out texts; ± 95 % interval; control: the same probe on shuffled labels", style="dim"
    )


def read_probes(folder: Path) -> dict[str, Any]:
    """Read `name`, `n` held-out texts, and `rows` of [layer, accuracy, half of its 95 % interval, control].

    Raises:
        UserError: probes.csv is missing, or is not one of ours.
    """
    try:
        with (folder / "probes.csv").open(newline="", encoding="utf-8") as file:
            found = [{key: float(row[key]) for key in NEEDED} for row in csv.DictReader(file)]
        rows = [[int(r["layer"]), r["accuracy"], numbers.Z95 * r["stderr"], r["control"]] for r in found]
        if not all(math.isfinite(value) for row in found for value in row.values()):
            raise ValueError
        return {"name": folder.name, "n": int(found[0]["n"]), "rows": rows}
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(f"{folder}: probes.csv cannot be read ({type(error).__name__})") from error
