"""results.json: what a run writes and every report reads. Documented in docs/results_schema.md."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unlearnctl.errors import UserError

SCHEMA = "unlearnctl/results/1"
STATUSES = ("completed", "interrupted", "stopped_early")
METRIC_KEYS = ("value", "stderr", "n", "chance", "role", "goal")


@dataclass(frozen=True)
class Metric:
    """One score with what is needed to believe it."""

    value: float
    stderr: float | None  # one standard error; None where none is defined
    n: int  # items behind the value
    chance: float | None  # what guessing scores; None where meaningless
    role: str  # forget: what should go; retain: what should stay
    goal: str  # lower | higher

    def to_json(self) -> dict[str, Any]:
        """As in results.json; a number that is not finite becomes null."""
        clean = asdict(self)
        for key in ("value", "stderr", "chance"):
            if clean[key] is not None and not math.isfinite(clean[key]):
                clean[key] = None
        return clean


Scores = Mapping[str, Mapping[str, Metric]]


def scores_to_json(scores: Scores) -> dict[str, dict[str, Any]]:
    """{suite: {metric: {...}}} as plain data."""
    return {suite: {name: m.to_json() for name, m in metrics.items()} for suite, metrics in scores.items()}


def scores_from_json(data: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Metric]]:
    """The inverse of `scores_to_json`."""
    return {suite: {name: Metric(**m) for name, m in metrics.items()} for suite, metrics in data.items()}


def write_results(path: Path, record: Mapping[str, Any]) -> None:
    """Check and write results.json: old file or new, never half of one."""
    validate_results(record)
    write_atomically(path, json.dumps(record, indent=2, default=str) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Temporary file beside the target, flushed to disk, renamed over it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def validate_results(record: Any) -> None:
    """Check the parts that reports rely on.

    Raises:
        UserError: which key is missing or wrong.
    """
    if not isinstance(record, Mapping) or record.get("schema") != SCHEMA:
        raise UserError(f"results.json: schema must be {SCHEMA}")
    for key in ("status", "config", "provenance", "after"):
        if key not in record:
            raise UserError(f"results.json: {key} is missing")
    if record["status"] not in STATUSES:
        raise UserError(f"results.json: status={record['status']}: must be one of {', '.join(STATUSES)}")
    for part in ("before", "after"):
        for suite, metrics in record.get(part, {}).items():
            for name, metric in metrics.items():
                missing = [key for key in METRIC_KEYS if key not in metric]
                if missing:
                    raise UserError(f"results.json: {part}.{suite}.{name}.{missing[0]} is missing")
