"""Compare trainer=meta with random search on a real model, at equal optimiser steps; prints a table.

    python benchmarks/meta_real.py MODEL_FOLDER ARC_FOLDER OUT [--steps 80] [OVERRIDE …]

ARC_FOLDER holds {bio,phys}_corpus.jsonl and arc_{bio,phys}_test.jsonl. Rewards are of `trainer.meta.reward=texts`,
and the test questions are only reported. A search has a quarter of the steps for each of three episodes and a quarter
for the run itself, which is all that `fixed`, the recipe as it is, has.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

WAYS = ("fixed", "online", "search", "random")
EPISODES = 3


def overrides(way: str, steps: int) -> list[str]:
    """Divide the steps among episodes and the run itself."""
    quarter = steps // (EPISODES + 1)
    if way == "fixed":
        return [f"trainer.steps={quarter}"]
    if way == "online":
        return ["trainer=meta", f"trainer.steps={steps}", f"trainer.monitor.every={steps // 8}"]
    return [
        "trainer=meta", f"trainer.steps={quarter}", f"trainer.monitor.every={quarter}", f"trainer.meta.mode={way}",
        f"trainer.meta.episodes={EPISODES}", f"trainer.meta.episode_steps={quarter}", "trainer.meta.group=1",
    ]  # fmt: skip


def train(way: str, given: argparse.Namespace) -> Path:
    """Carry out one run, unless it has been; returns its directory."""
    folder = Path(given.out) / "train" / "meta" / way
    if (folder / "results.json").is_file():
        return folder
    arc = given.arc
    common = [
        "model=smollm2_135m", f"model.path={given.model}", "objective=rmu_cosine", "data=arc_biology",
        f"data.forget.path={arc}/bio_corpus.jsonl", f"data.retain.path={arc}/phys_corpus.jsonl",
        "data.max_length=96", "trainer.global_batch=4", f"output_dir={given.out}", "name=meta", f"run={way}",
        "eval=[mc]", f"eval.mc.forget={arc}/arc_bio_test.jsonl", f"eval.mc.retain={arc}/arc_phys_test.jsonl",
        "eval.mc.limit=200", "eval.mc.replies=0", *given.more,
    ]  # fmt: skip
    command = [sys.executable, "-m", "unlearnctl", "train", *common, *overrides(way, given.steps)]
    subprocess.run(command, check=True)
    return folder


def row(way: str, folder: Path, seconds: float) -> str:
    """Write a row of the table: scores on reported questions, and what the learner chose."""
    record = json.loads((folder / "results.json").read_text())
    before, after = record["before"]["mc"], record["after"]["mc"]
    learned: dict[str, Any] = record["train"].get("meta") or {}
    cells = [f"{before[m]['value']:.3f} → {after[m]['value']:.3f}" for m in before]
    acts = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rewarded = [act for act in acts if "hypervolume" in act]
    tried = [f"{act['knobs']['alpha']:.3g} ({act['hypervolume']:.3f})" for act in rewarded]
    steps, best = learned.get("steps", record["train"]["steps"]), record["train"]["best_step"]
    return f"| {way} | {steps} | {best} | {' | '.join(cells)} | {', '.join(tried)} | {seconds:.0f} |"


def main() -> None:
    """Train each way in turn and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("arc")
    parser.add_argument("out")
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("more", nargs="*", help="further overrides, for every run")
    given = parser.parse_args()
    rows = []
    for way in given.ways:
        started = time.monotonic()
        rows.append(row(way, train(way, given), time.monotonic() - started))
    print("\n".join(rows))


if __name__ == "__main__":
    main()
