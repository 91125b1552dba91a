"""Scores of untouched models, kept: every run on a base model would measure the same again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from unlearnctl.distributed.collectives import on_main
from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.results.metric import Metric
from unlearnctl.results.provenance import versions
from unlearnctl.results.record import items_to_json, samples_to_json, scores_from_json, scores_to_json
from unlearnctl.utils.atomic import why, write_atomically
from unlearnctl.utils.paths import cache_dir
from unlearnctl.utils.safe_json import loads

Scores = dict[str, dict[str, Metric]]


def kept_answers(identity: str, suites: Mapping[str, Any]) -> Answers:
    """Open the answers that a cut-off evaluation of the same weights by the same suites left.

    `identity` must change whenever the weights or their dtype do. Whoever has written the scores calls `forget`.
    """
    answers = Answers(cache_dir() / "answers" / _digest(_key(identity, suites)))
    if answers.resumed:
        print(f"evaluation: resumes after {answers.resumed} answers of an interrupted one")
    return answers


def cached_evaluate(
    identity: str, suites: Mapping[str, Any], run: Callable[[Answers], Scores], quiet: bool = False
) -> Scores:
    """Return `run(answers)`, or its earlier result for the same weights, suite configs and library versions.

    A damaged entry is measured again; see `kept_answers` for an evaluation that was killed. `quiet` leaves out the line
    that names the entry.
    """
    key = _key(identity, suites)
    path = cache_dir() / "base-results" / f"{_digest(key)}.json"
    # one rank looks, for all: another command may be about to write it
    if known := on_main(lambda: _read(path, key, list(suites))):
        if not quiet:
            print(f"base model: scores from the cache ({path})")
        return known
    answers = kept_answers(identity, suites)
    scores = run(answers)
    if on_main(lambda: _write(path, key, scores)):
        answers.forget()
    return scores


def _read(path: Path, key: str, suites: list[str]) -> Scores | None:
    try:
        entry = loads(path.read_text(encoding="utf-8"))
        scores = scores_from_json(entry["scores"], entry["items"], entry["samples"])
        return scores if entry["key"] == key and list(scores) == suites else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # absent or damaged: measure


def _write(path: Path, key: str, scores: Scores) -> bool:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        entry = {
            "key": key,
            "scores": scores_to_json(scores),
            "items": items_to_json(scores),
            "samples": samples_to_json(scores),
        }
        write_atomically(path, json.dumps(entry))
    except OSError as error:
        print(f"base model: scores not cached ({why(error)})")
        return False
    return True


def _key(identity: str, suites: Mapping[str, Any]) -> str:
    return json.dumps([identity, suites, versions()], sort_keys=True, default=str)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:24]
