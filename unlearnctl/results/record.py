"""Build the files that hold what a run measured: results.json, items.json and samples.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unlearnctl.results.metric import Metric, Sample, Scores
from unlearnctl.results.schema import SCHEMA
from unlearnctl.results.statistics import paired
from unlearnctl.utils.atomic import write_atomically


def record(
    config: Mapping[str, Any],
    provenance: Mapping[str, Any],
    after: Scores,
    before: Scores | None = None,
    status: str = "completed",
    **parts: Any,
) -> dict[str, Any]:
    """Build the results.json of any verb; `parts` are the keys that only this verb writes."""
    return {
        "schema": SCHEMA,
        "status": status,
        "config": config,
        "provenance": provenance,
        **({} if before is None else {"before": scores_to_json(before)}),
        "after": scores_to_json(after),
        **parts,
    }


def paired_tests(before: Scores, after: Scores) -> dict[str, dict[str, Any]]:
    """Test every metric whose items are known on both sides: {suite: {metric: paired test}}."""
    return {
        suite: {
            name: test
            for name, metric in metrics.items()
            if name in before.get(suite, {}) and (test := paired(before[suite][name], metric))
        }
        for suite, metrics in after.items()
    }


def write_items(folder: Path, **parts: Scores) -> None:
    """Write items.json, for paired comparisons between runs, and samples.json if a suite let the model write."""
    write_atomically(
        folder / "items.json",
        json.dumps({name: items_to_json(scores) for name, scores in parts.items()}) + "\n",
    )
    samples = {name: samples_to_json(scores) for name, scores in parts.items()}
    if any(samples.values()):
        write_atomically(folder / "samples.json", json.dumps(samples) + "\n")


def scores_to_json(scores: Scores) -> dict[str, dict[str, Any]]:
    """Turn scores into {suite: {metric: {...}}}, without items and samples."""
    return {suite: {name: m.to_json() for name, m in metrics.items()} for suite, metrics in scores.items()}


def items_to_json(scores: Scores) -> dict[str, dict[str, Any]]:
    """Turn scores into {suite: {metric: [outcome of each item] or null}}."""
    return {suite: {name: m.items for name, m in metrics.items()} for suite, metrics in scores.items()}


def samples_to_json(scores: Scores) -> dict[str, dict[str, Any]]:
    """Turn the scores that have samples into {suite: {metric: [{prompt, reply, score}]}}."""
    found = {
        suite: {name: [s._asdict() for s in m.samples] for name, m in metrics.items() if m.samples}
        for suite, metrics in scores.items()
    }
    return {suite: metrics for suite, metrics in found.items() if metrics}


def scores_from_json(
    data: Mapping[str, Mapping[str, Any]],
    items: Mapping[str, Mapping[str, Any]],
    samples: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Metric]]:
    """Undo `scores_to_json`, `items_to_json` and `samples_to_json`."""
    return {
        suite: {
            name: _metric(m, items[suite][name], samples.get(suite, {}).get(name))
            for name, m in metrics.items()
        }
        for suite, metrics in data.items()
    }


def _metric(data: Mapping[str, Any], items: Any, samples: Any) -> Metric:
    said = [Sample(**sample) for sample in samples or ()]
    pairs = {"interval": data.get("interval"), "items": items, "samples": said}
    return Metric(**{**data, **{key: tuple(pair) if pair else None for key, pair in pairs.items()}})
