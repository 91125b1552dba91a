"""A run directory with everything that a report may show: attacks, repair, flags, meta-learned steps, token weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.reporting.conftest import history, metric, results, suites


def whole_results() -> dict[str, Any]:
    """Its results.json, not sealed."""
    body = results()
    tried: list[dict[str, Any]] = [
        {"attack": "relearn", "variant": "text, lr 0.1, step 3", "recovery": 0.5, "worst": True, "scores": suites(0.5),
         "settings": {"corpus": "text", "lr": 0.1, "step": 3}},
        {"attack": "probe", "variant": "layer 2", "settings": {}, "recovery": None, "worst": False, "base": suites(),
         "scores": {"latent": {"acc": metric(0.5, role="forget")}}},
    ]  # fmt: skip
    body["paired"] = {"tinyworld": {"hazard_acc": {"test": "McNemar", "lower": 9, "higher": 1, "p": 0.01}}}
    body["flags"] = [{"name": "gibberish", "metric": "x", "value": 0.9, "bound": 0.5, "raised": True}]
    body |= {"attacks": tried, "unlearned": suites(), "notes": ["a note"]}
    body["repair"] = {"method": "SAGE", "strength": 0.5, "curve": [], "modules": {"m": {}}, "untouched": []}
    body["config"]["model"]["path"] = "org/name"
    body["train"]["stop_reason"] = "retain damage"
    return body


def whole_history() -> list[dict[str, Any]]:
    """Its metrics.jsonl."""
    turns = [{"kind": "meta", "step": n, "knobs": {"alpha": n + 1.0}, "forgotten": n / 9} for n in (1, 2)]
    return [*history(6), *turns]


def token_weights() -> dict[str, Any]:
    """Its token_weights.json."""
    return {"texts": [{"tokens": ["a", "word"], "weights": [0.1, 0.9], "true": [False, True]}]}


def files(body: Any, rows: Any, weights: Any, yaml: str = "objective:\n  name: rmu\n") -> dict[str, bytes]:
    """The files of a run directory that reports read."""
    return {
        "results.json": json.dumps(body).encode(),
        "metrics.jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode(),
        "token_weights.json": json.dumps(weights).encode(),
        "config.yaml": yaml.encode(),
    }


def write_files(folder: Path, made: dict[str, bytes]) -> Path:
    """Write them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in made.items():
        (folder / name).write_bytes(content)
    return folder
