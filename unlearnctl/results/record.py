"""Build the files that hold what a run measured: results.json, items.json and samples.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
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
    found: dict[str, dict[str, Any]] = {}
    for suite, metrics in after.items():
        found[suite] = {}
        for name, metric in metrics.items():
            old = before.get(suite, {}).get(name)
            if old is not None and (test := paired(old, metric)):
                found[suite][name] = test
    return found


def write_items(folder: Path, **parts: Scores) -> None:
    """Write items.json, for paired comparisons between runs, and samples.json if a suite let the model write."""
    items = {name: items_to_json(scores) for name, scores in parts.items()}
    write_atomically(folder / "items.json", json.dumps(items) + "\n")
    samples = {name: samples_to_json(scores) for name, scores in parts.items()}
    if any(samples.values()):
        write_atomically(folder / "samples.json", json.dumps(samples) + "\n")


def scores_to_json(scores: Scores) -> dict[str, dict[str, Any]]:
    """Turn scores into {suite: {metric: {...}}}, without items and samples."""
    return _for_each(scores, Metric.to_json)


def items_to_json(scores: Scores) -> dict[str, dict[str, Any]]:
    """Turn scores into {suite: {metric: [outcome of each item] or null}}."""
    return _for_each(scores, lambda metric: metric.items)


def samples_to_json(scores: Scores) -> dict[str, dict[str, Any]]:
    """Turn the scores that have samples into {suite: {metric: [{prompt, reply, score}]}}.

    Replies to questions with a right answer also have it, as `expected`.
    """
    found = {}
    for suite, metrics in scores.items():
        with_samples = {name: metric for name, metric in metrics.items() if metric.samples}
        if with_samples:
            found[suite] = with_samples
    return _for_each(found, lambda metric: [_sample(sample) for sample in metric.samples or ()])


def _sample(sample: Sample) -> dict[str, Any]:
    known = sample._asdict()
    return known if sample.expected is not None else {k: v for k, v in known.items() if k != "expected"}


def _for_each(scores: Scores, part: Callable[[Metric], Any]) -> dict[str, dict[str, Any]]:
    found = {}
    for suite, metrics in scores.items():
        found[suite] = {name: part(metric) for name, metric in metrics.items()}
    return found


def scores_from_json(
    data: Mapping[str, Mapping[str, Any]],
    items: Mapping[str, Mapping[str, Any]],
    samples: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Metric]]:
    """Undo `scores_to_json`, `items_to_json` and `samples_to_json`."""
    found: dict[str, dict[str, Metric]] = {}
    for suite, metrics in data.items():
        said = samples.get(suite, {})
        found[suite] = {name: _metric(m, items[suite][name], said.get(name)) for name, m in metrics.items()}
    return found


def _metric(data: Mapping[str, Any], items: Any, samples: Any) -> Metric:
    interval = data.get("interval")
    kept = [Sample(**sample) for sample in samples or ()]
    return Metric(
        **{**data, "interval": tuple(interval) if interval else None},
        items=tuple(items) if items else None,
        samples=tuple(kept) if kept else None,
    )
