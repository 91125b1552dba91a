"""Compare repairs with scaling: hypervolume under each strength curve, per source method and repaired run, and a plot.

    unlearnctl train -m objective=npo,grad_diff objective.alpha=0 seed=0,1,2 output_dir=outputs/sources
    unlearnctl repair -m run_dir=A,B repair=sage,task_arithmetic select=null output_dir=outputs/repaired
    python benchmarks/repair.py outputs/repaired --plot curves.png

`select=null` draws the curve on the reported items. Hypervolume: area that the curve's points dominate in the plane
of forgotten and retained share, from (0, 0).
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

Point = tuple[float, float]  # forgotten and retained share
Curves = dict[tuple[str, str], dict[str, list[Point]]]  # (source, repair) → repaired run → points


def read(folder: Path) -> Curves:
    """Read every repair below the folder."""
    curves: Curves = {}
    for file in sorted(folder.rglob("results.json")):
        record = json.loads(file.read_text(encoding="utf-8"))
        if not record.get("repair"):
            continue
        config = record["config"]
        objective = config["objective"]
        source = objective["name"] + (", no retain term" if objective.get("alpha") == 0 else "")
        points = [(p["forgotten"], p["retained"]) for p in record["repair"]["curve"]]
        cell = curves.setdefault((source, record["repair"]["method"]), {})
        run = str(config["run_dir"])
        if run in cell:
            raise SystemExit(f"{file}: a second repair of {run}")
        cell[run] = points
    return curves


def hypervolume(points: Sequence[Point]) -> float:
    """Return the area that points dominate, from the origin; larger coordinates are better."""
    area, height = 0.0, 0.0
    for forgotten, retained in sorted(points, reverse=True):
        area += forgotten * max(0.0, retained - height)
        height = max(height, retained)
    return area


def table(curves: Curves) -> str:
    """Make one row per source: both areas, their difference over runs, and p from a paired t-test."""
    from scipy import stats

    lines = ["| source | unrepaired | scaling | SAGE | SAGE − scaling | p | runs |", "|---" * 7 + "|"]
    for source in sorted({source for source, _ in curves}):
        sage, scaled = curves[source, "SAGE"], curves[source, "TaskArithmetic"]
        runs = sorted(set(sage) & set(scaled))
        first, second = ([hypervolume(found[r]) for r in runs] for found in (sage, scaled))
        raw = [sage[r][0][0] * sage[r][0][1] for r in runs]
        gaps = [a - b for a, b in zip(first, second, strict=True)]
        p = f"{stats.ttest_rel(first, second).pvalue:.2g}" if len(runs) > 1 else "–"
        cells = [mean_error(x) for x in (raw, second, first)]
        lines.append(f"| {source} | {' | '.join(cells)} | {mean_error(gaps, '+')} | {p} | {len(runs)} |")
    return "\n".join(lines)


def mean_error(values: Sequence[float], sign: str = "") -> str:
    """Format mean and standard error as `0.601 ± 0.012`."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:{sign}.3f}"
    return f"{mean:{sign}.3f} ± {statistics.stdev(values) / math.sqrt(len(values)):.3f}"


def plot(curves: Curves, path: Path) -> None:
    """Draw one panel per source: every seed's curve, SAGE against scaling."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    sources = sorted({source for source, _ in curves})
    columns = min(4, len(sources))
    figure, axes = plt.subplots(
        -(-len(sources) // columns), columns, figsize=(3.4 * columns, 3.1 * -(-len(sources) // columns)),
        sharex=True, sharey=True, squeeze=False, layout="constrained",
    )  # fmt: skip
    styles = {"SAGE": ("#0b6e4f", "o", "SAGE"), "TaskArithmetic": ("#b4602d", "s", "scaling")}
    for axis, source in zip(axes.flat, sources, strict=False):
        for repair, (color, marker, name) in styles.items():
            for place, points in enumerate(curves[source, repair].values()):
                axis.plot(
                    *zip(*points, strict=True), color=color, marker=marker, markersize=3, linewidth=1,
                    label=name if place == 0 else None,
                )  # fmt: skip
        axis.set_title(source, fontsize=9)
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    for axis in axes.flat[len(sources) :]:
        axis.set_visible(False)
    axes.flat[0].legend(fontsize=8)
    figure.supxlabel("forgotten share")
    figure.supylabel("retained share")
    figure.savefig(path, dpi=140)


def main() -> None:
    """Print the table; draw the curves if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--plot", type=Path, help="PNG to write")
    asked = parser.parse_args()
    curves = read(asked.folder)
    print(table(curves))
    if asked.plot:
        plot(curves, asked.plot)


if __name__ == "__main__":
    main()
