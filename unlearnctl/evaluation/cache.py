"""Scores of untouched models, kept: every run on a base model would measure the same again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from unlearnctl.evaluation.provenance import versions
from unlearnctl.evaluation.record import Metric, scores_from_json, scores_to_json, write_atomically
from unlearnctl.paths import cache_dir

Scores = dict[str, dict[str, Metric]]


def cached_evaluate(identity: str, suites: Mapping[str, Any], run: Callable[[], Scores]) -> Scores:
    """`run()`, or what it gave before for the same weights, suite configs and library versions.

    `identity` must change whenever the weights or their dtype do. A damaged entry is measured anew.
    """
    key = json.dumps([identity, suites, versions()], sort_keys=True, default=str)
    path = cache_dir() / "base-results" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        scores = scores_from_json(entry["scores"])
        if entry["key"] == key and list(scores) == list(suites):
            print(f"base model: scores from the cache ({path})")
            return scores
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # absent or damaged: measure
    scores = run()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({"key": key, "scores": scores_to_json(scores)}))
    except OSError as error:
        print(f"base model: scores not cached ({error.strerror}: {path.parent})")
    return scores
