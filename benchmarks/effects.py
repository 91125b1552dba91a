"""Make tables of measured effects from run directories: mean ± standard error over seeds, and paired tests.

    unlearnctl train -m objective=npo,rmu seed=0,1,2,3,4 output_dir=outputs/effects
    python benchmarks/effects.py outputs/effects --against rmu --metric hazard_acc

Rows are objectives (with what was changed around them), columns metrics. Hypervolume is forgotten share × retained
share (`unlearnctl.results.trade_off`) over the metrics of --hypervolume, on the reported items.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from unlearnctl.results.metric import Metric
from unlearnctl.results.trade_off import trade_off

Table = dict[str, dict[int, dict[str, float]]]  # row → seed → metric → value


def label(config: Mapping[str, Any]) -> str:
    """Name a run by its objective and the settings that were changed."""
    objective, trainer = config["objective"], config.get("trainer", {})
    weights = objective.get("token_weights") or {}
    marks = [
        "control" if objective.get("forget_coeff") == 0 else "",
        f"noise {objective['retain_noise']}" if objective.get("retain_noise") else "",
        f"sharpness {trainer['sharpness']}" if trainer.get("sharpness") else "",
        f"meta {trainer['meta']['mode']}" if trainer.get("meta") else "",
        "frozen scorer" if weights.get("until") is not None else "",
    ]
    return " + ".join(filter(None, [objective["name"], *marks]))


def read(folders: Sequence[Path], data: str | None, volume: Sequence[str]) -> Table:
    """Read every completed run below the folders, of one dataset if `data` is given."""
    table: Table = {}
    for file in sorted(path for folder in folders for path in folder.rglob("results.json")):
        record = json.loads(file.read_text(encoding="utf-8"))
        config = record["config"]
        if record["status"] == "completed" and data in (None, config["data"]["name"]):
            row = table.setdefault(label(config), {})
            if config["seed"] in row:
                raise SystemExit(f"{file}: a second run of {label(config)} with seed {config['seed']}")
            row[config["seed"]] = dict(_numbers(record, volume))
    return table


def _numbers(record: Mapping[str, Any], volume: Sequence[str]) -> Iterator[tuple[str, float]]:
    before, after = (_metrics(record[when]) for when in ("before", "after"))
    for metrics in after.values():
        yield from ((name, metric.value) for name, metric in metrics.items())
    chosen = [
        {s: {n: m for n, m in ms.items() if n in volume} for s, ms in x.items()} for x in (before, after)
    ]
    if point := trade_off(*chosen):
        yield "hypervolume", point.hypervolume
    yield "seconds", record["train"]["seconds"]
    if weights := record["train"].get("token_weights", {}).get("auroc"):
        yield "auroc", weights["value"]


def _metrics(scores: Mapping[str, Any]) -> dict[str, dict[str, Metric]]:
    fields = ("value", "stderr", "n", "chance", "role", "goal")
    return {s: {n: Metric(*(m[f] for f in fields)) for n, m in ms.items()} for s, ms in scores.items()}


def mean_error(values: Sequence[float]) -> str:
    """Format mean and standard error as `0.316 ± 0.007`, or a single value by itself."""
    if len(values) < 2:
        return f"{values[0]:.3f}"
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values) / math.sqrt(len(values)):.3f}"


def markdown(table: Table, metrics: Sequence[str]) -> str:
    """Make one row per objective, best hypervolume first."""
    order = sorted(table, key=lambda r: -statistics.mean(s["hypervolume"] for s in table[r].values()))
    lines = ["| | " + " | ".join([*metrics, "seeds"]) + " |", "|---" * (len(metrics) + 2) + "|"]
    for row in order:
        runs = list(table[row].values())
        cells = [mean_error([r[m] for r in runs]) if all(m in r for r in runs) else "–" for m in metrics]
        lines.append(f"| {row} | " + " | ".join([*cells, str(len(runs))]) + " |")
    return "\n".join(lines)


def paired(table: Table, row: str, other: str, metric: str) -> str:
    """Return the difference over common seeds with its 95 % interval, and p from a paired t-test."""
    from scipy import stats

    seeds = sorted(set(table[row]) & set(table[other]))
    a, b = ([table[r][seed][metric] for seed in seeds] for r in (row, other))
    if len(seeds) < 2:
        return f"n {len(seeds)}: too few seeds in common for a test"
    test = stats.ttest_rel(a, b)
    low, high = test.confidence_interval()
    apart = statistics.mean(a) - statistics.mean(b)
    return f"{apart:+.3f} [{low:+.3f}, {high:+.3f}], p {test.pvalue:.2g}, n {len(seeds)}"


METRICS = "hazard_acc,hazard_unseen_acc,benign_acc,benign_unseen_acc,narrative_ppl,polite_ppl,toxicity_prob"


def main() -> None:
    """Print the table, and the paired tests against one row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--data", help="only runs of this data config")
    parser.add_argument("--metrics", default=f"{METRICS},hypervolume,seconds")
    parser.add_argument(
        "--hypervolume", default="hazard_acc,hazard_unseen_acc,benign_acc,benign_unseen_acc,narrative_ppl"
    )
    parser.add_argument("--against", help="row to compare every other one with")
    parser.add_argument("--metric", default="hypervolume", help="of the paired tests")
    asked = parser.parse_args()
    table = read(asked.folders, asked.data, asked.hypervolume.split(","))
    print(markdown(table, asked.metrics.split(",")))
    if asked.against:
        print(f"\n{asked.metric}, less that of {asked.against}:")
        for row in table:
            if row != asked.against:
                print(f"  {row}: {paired(table, row, asked.against, asked.metric)}")


if __name__ == "__main__":
    main()
