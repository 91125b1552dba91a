"""Synthetic run directories, as the runs write them."""

import json
import math
from pathlib import Path

import pytest


def metric(value, stderr=None, n=None, chance=None, role="retain", goal="higher"):
    return {"value": value, "stderr": stderr, "n": n, "chance": chance, "role": role, "goal": goal}


def accuracy(value, n=270, role="retain", goal="higher"):
    return metric(value, math.sqrt(value * (1 - value) / n), n, 0.25, role, goal)


def suites(progress=0.0, toxicity=0.49):
    """The tiny world's suite, `progress` of the way from the base model to a well unlearned one."""
    return {
        "tinyworld": {
            "hazard_acc": accuracy(0.978 - 0.711 * progress, role="forget", goal="lower"),
            "hazard_unseen_acc": accuracy(0.956 - 0.6 * progress, 90, role="forget", goal="lower"),
            "toxicity_prob": metric(toxicity, None, 200, None, "forget", "lower"),
            "benign_acc": accuracy(0.981 - 0.012 * progress, 720),
            "benign_unseen_acc": accuracy(0.972 - 0.08 * progress, 360),
            "narrative_ppl": metric(2.874 + 0.11 * progress, 0.021, 4096, None, "retain", "lower"),
        }
    }


def results(objective="rmu_cosine", layer=3, alpha=1.0, progress=1.0, **more):
    config = {
        "objective": {
            "name": objective,
            "_target_": f"unlearnctl.{objective}",
            "layer": layer,
            "alpha": alpha,
        },
        "model": {"name": "tinyworld", "dtype": "float32", "trainable": ["layers.3.mlp.down_proj"]},
        "data": {
            "name": "tinyworld_hazard",
            "forget": {"path": "tinyworld:corpora/hazard.jsonl", "field": "text"},
        },
        "trainer": {"steps": 150, "lr": 0.001, "optimiser": {"name": "adamw", "betas": [0.9, 0.999]}},
        "seed": 0,
    }
    provenance = {
        "commit": "3f2c9a1d", "dirty": False, "seed": 0, "versions": {"python": "3.11.2", "torch": "2.8.0"},
        "hardware": {"cpu": "2 cores", "gpu": None}, "started": "2025-11-21T04:16:57+00:00",
        "finished": "2025-11-21T04:17:41+00:00", "command": "unlearnctl train objective=rmu_cosine",
    }  # fmt: skip
    train = {
        "steps": 150, "seconds": 43.7, "tokens": 614400, "best_step": 140,
        "terms": {"forget": 0.4, "retain": 0.1},
        "trained": {"tensors": 3, "parameters": 135168}, "stop_reason": None,
    }  # fmt: skip
    base = {
        "schema": "unlearnctl/results/1",
        "status": "completed",
        "config": config,
        "provenance": provenance,
    }
    return base | {"train": train, "before": suites(), "after": suites(progress)} | more


def history(steps=150):
    rows = []
    for step in range(1, steps + 1):
        forget, retain = (
            2.4 * math.exp(-step / 30) + 0.05 * math.sin(step),
            0.02 + 0.1 * (1 - math.exp(-step / 50)),
        )
        rows.append({"kind": "train", "step": step, "loss": forget + retain, "lr": 1e-3, "seconds": 0.2,
                     "terms": {"forget": forget, "retain": retain}, "grad_norm": 0.5 + forget})  # fmt: skip
    for step in range(0, steps + 1, 25):
        rows.append({"kind": "eval", "step": step, "suites": suites((step / steps) ** 0.5)})
    return rows


def write_run(path: Path, body=None, rows=(), yaml="objective:\n  name: rmu_cosine\n"):
    path.mkdir(parents=True, exist_ok=True)
    (path / "results.json").write_text(json.dumps(results() if body is None else body))
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (path / "config.yaml").write_text(yaml)
    return path


@pytest.fixture
def run_dir(tmp_path):
    return write_run(tmp_path / "run", rows=history())


@pytest.fixture(scope="session")
def make():
    """The builders, for tests that want their own run."""

    class Builders:
        pass

    for build in (metric, suites, results, history, write_run):
        setattr(Builders, build.__name__, staticmethod(build))
    return Builders
