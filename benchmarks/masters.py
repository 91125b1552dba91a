"""Draw the forget loss of runs that differ in dtype and masters: bfloat16 with and without them, and float32.

    unlearnctl train model=smollm2_135m objective=rmu_cosine objective.layer=7 data=arc_biology eval=[] \
        trainer.optimizer.lr=5e-5 trainer.steps=30 model.dtype=bfloat16 trainer.master_weights=none run=rounded
    python benchmarks/masters.py masters.png RUN_DIR RUN_DIR …

Runs of one learning rate share a panel. The legend names dtype, masters, and the share of trained weights that moved.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from unlearnctl.results.history import read_history


def label(record: dict[str, Any]) -> str:
    """Name a run: `bfloat16, masters, 97 % moved`."""
    config, moved = record["config"], record["train"]["trained"].get("moved")
    masters = config["trainer"].get("master_weights") == "auto" and config["model"]["dtype"] != "float32"
    parts = [config["model"]["dtype"], *(["masters"] if masters else [])]
    return ", ".join([*parts, *([] if moved is None else [f"{moved:.0%} of weights moved"])])


def draw(out: Path, folders: list[Path]) -> None:
    """Write the picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    records = {folder: json.loads((folder / "results.json").read_text()) for folder in folders}
    rates = sorted({float(r["config"]["trainer"]["optimizer"]["lr"]) for r in records.values()})
    figure, axes = pyplot.subplots(1, len(rates), figsize=(4.5 * len(rates), 3.2), squeeze=False)
    for axis, rate in zip(axes[0], rates, strict=True):
        for folder, record in records.items():
            if float(record["config"]["trainer"]["optimizer"]["lr"]) == rate:
                rows = [row for row in read_history(folder / "metrics.jsonl").rows if row["kind"] == "train"]
                style = "--" if record["config"]["model"]["dtype"] == "float32" else "-"
                values = [row["terms"]["forget"] for row in rows]
                axis.plot([row["step"] for row in rows], values, style, label=label(record), linewidth=1.2)
        axis.set(title=f"learning rate {rate:g}", xlabel="step", ylabel="forget loss")
        axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(out, dpi=90)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    given = parser.parse_args()
    draw(given.out, given.runs)
