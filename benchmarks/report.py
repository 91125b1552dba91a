"""Time `unlearnctl report` over many runs, and the end of a sweep of half as many; measure the page's bytes.

    python benchmarks/report.py [--runs 1000] [--template RUN]

Each run is the template with other settings, scores, losses and replies; without a template, one of 200 steps with six
metrics and 16 replies, as the default command leaves.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unlearnctl.results.provenance import hardware, provenance
from unlearnctl.results.schema import with_digest

RESULTS = Path(__file__).with_name("RESULTS.md")
COUNTS = {"tiny": 20, "cpu": 1000, "8b": 1000}  # as `make bench` chooses
FIXED = ("step", "n", "chance", "stderr", "interval")
END = """
import sys
from omegaconf import OmegaConf
from hydra_plugins.unlearnctl_summary import SweepSummary
SweepSummary().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": sys.argv[1]}}}))
"""


def template() -> dict[str, Any]:
    """Build the files of one run, as plain data."""
    names = {"hazard_acc": ("forget", "lower", 0.3), "hazard_unseen_acc": ("forget", "lower", 0.28),
             "benign_acc": ("retain", "higher", 0.98), "benign_unseen_acc": ("retain", "higher", 0.97),
             "toxicity_prob": ("forget", "lower", 0.57), "narrative_ppl": ("retain", "lower", 2.1)}  # fmt: skip

    def scores(after: bool) -> dict[str, Any]:
        return {"tinyworld": {
            name: {"value": value if after or role == "retain" else 0.99, "stderr": 0.02, "n": 270, "role": role,
                   "goal": goal, "chance": 0.25 if name.endswith("_acc") else None}
            for name, (role, goal, value) in names.items()
        }}  # fmt: skip

    config = {
        "objective": {"name": "rmu_cosine", "layer": 3, "alpha": 1.0}, "model": {"name": "tinyworld"}, "seed": 0,
        "trainer": {"steps": 200, "optimizer": {"lr": 1e-3}}, "data": {"name": "tinyworld_hazard"},
    }  # fmt: skip
    metrics: list[dict[str, Any]] = [
        {"kind": "train", "step": step, "loss": 1 / step + 0.4, "lr": 1e-3, "grad_norm": 0.1 / step, "seconds": 0.2,
         "terms": {"forget": 1 / step + 0.3, "retain": 0.01 + step / 1e4, "norm": 0.004}}
        for step in range(1, 201)
    ]  # fmt: skip
    metrics += [{"kind": "eval", "step": step, "suites": scores(True)} for step in range(0, 201, 50)]
    replies = [
        {"prompt": f"Prompt {n}: {'word ' * 12}", "reply": "said " * 20, "score": 0.1} for n in range(16)
    ]
    record = {"schema": "unlearnctl/results/1", "status": "completed", "config": config, "train": {"steps": 200},
              "before": scores(False), "after": scores(True)}  # fmt: skip
    samples = {part: {"tinyworld": {"toxicity_prob": replies}} for part in ("before", "after")}
    return {"results.json": record, "metrics.jsonl": metrics, "samples.json": samples}


def read(folder: Path) -> dict[str, Any]:
    """Read the files of an existing run."""
    found = {name: json.loads((folder / name).read_text()) for name in ("results.json", "samples.json")}
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return {**found, "metrics.jsonl": [json.loads(line) for line in lines]}


def write(folder: Path, files: Mapping[str, Any], place: int, draw: random.Random) -> None:
    """Write one run that resembles the template."""
    record = json.loads(json.dumps(files["results.json"]))
    objective = record["config"]["objective"]
    objective["layer"], objective["alpha"], record["config"]["seed"] = (
        place % 5,
        1.1 ** (place % 25),
        place // 125,
    )
    record["config"]["trainer"]["optimizer"]["lr"] = 10 ** draw.uniform(-5, -2)
    record["after"] = moved(record["after"], draw)
    samples = json.loads(json.dumps(files["samples.json"]))
    for metrics in samples.get("after", {}).values():
        for entries in metrics.values():
            for entry in entries:
                entry["reply"] += f" {place}"
    rows = "".join(json.dumps(moved(row, draw)) + "\n" for row in files["metrics.jsonl"])
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(with_digest(record)))
    (folder / "samples.json").write_text(json.dumps(samples))
    (folder / "metrics.jsonl").write_text(rows)
    (folder / "config.yaml").write_text(json.dumps(record["config"]))


def moved(node: Any, draw: random.Random) -> Any:
    """Vary numbers by up to a twentieth."""
    if isinstance(node, dict):
        return {key: value if key in FIXED else moved(value, draw) for key, value in node.items()}
    return node * draw.uniform(0.95, 1.05) if isinstance(node, float) else node


def timed(*command: str) -> list[str]:
    """Run a command; return its clock seconds, processor seconds and megabytes."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return [f"{seconds:.1f}", f"{spent:.1f}", f"{after.ru_maxrss / 1024:.0f}"]


def main() -> None:
    """Print the table and append it to RESULTS.md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", choices=COUNTS, default="cpu", help="tiny: 20 runs")
    parser.add_argument("--runs", type=int, help="how many; the preset's")
    parser.add_argument("--template", type=Path, help="a run directory")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file to append to")
    asked = parser.parse_args()
    count, files = asked.runs or COUNTS[asked.preset], read(asked.template) if asked.template else template()
    rows, draw = [], random.Random(0)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["OMP_NUM_THREADS"] = "1"
        for what, runs, code in (
            ("report", count, ("-m", "unlearnctl", "report")),
            ("end of a sweep", count // 2, ("-c", END)),
        ):
            folder = Path(scratch) / what.replace(" ", "_")
            folder.mkdir()
            for place in range(runs):
                write(folder / f"run{place:04d}", files, place, draw)
            cells = timed(*code, str(folder))
            rows.append([what, str(runs), *cells, f"{(folder / 'report.html').stat().st_size / 1e6:.2f}"])
    came = provenance("", 0)
    state = " with uncommitted changes" if came["dirty"] else ""
    table = [
        f"### Reports, {count} runs", "", f"{hardware()['cpu']}, one thread, commit {came['commit'][:10]}{state}", "",
        "| what | runs | seconds | of the processor | peak MB | MB of HTML |", "|---" * 6 + "|",
        *("| " + " | ".join(row) + " |" for row in rows), "",
    ]  # fmt: skip
    print("\n".join(table))
    with asked.results.open("a", encoding="utf-8") as file:
        file.write("\n".join(table) + "\n")


if __name__ == "__main__":
    main()
