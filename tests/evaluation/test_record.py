"""results.json is checked, atomic and finite; base scores are cached by what they depend on."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from unlearnctl.errors import UserError
from unlearnctl.evaluation.cache import cached_evaluate
from unlearnctl.evaluation.provenance import provenance
from unlearnctl.evaluation.record import (
    SCHEMA,
    Metric,
    scores_from_json,
    scores_to_json,
    validate_results,
    write_results,
)

GOOD = Metric(0.5, 0.1, 20, 0.25, "forget", "lower")


def record(**changes: object) -> dict:
    base = {
        "schema": SCHEMA,
        "status": "completed",
        "config": {},
        "provenance": {},
        "after": scores_to_json({"s": {"m": GOOD}}),
    }
    return {**base, **changes}


def test_round_trip() -> None:
    assert scores_from_json(scores_to_json({"s": {"m": GOOD}})) == {"s": {"m": GOOD}}


def test_a_number_that_is_not_finite_becomes_null() -> None:
    assert Metric(float("nan"), float("inf"), 1, None, "retain", "lower").to_json()["value"] is None


@pytest.mark.parametrize(
    ("bad", "line"),
    [
        (record(schema="other"), "schema must be"),
        (record(status="done"), "status=done: must be one of completed"),
        ({k: v for k, v in record().items() if k != "config"}, "config is missing"),
        (record(after={"s": {"m": {"value": 1}}}), r"after\.s\.m\.stderr is missing"),
        ([], "schema must be"),
    ],
)
def test_validation_names_what_is_wrong(bad: object, line: str) -> None:
    with pytest.raises(UserError, match=line):
        validate_results(bad)


def test_a_failing_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.json"
    write_results(path, record())

    def fails(fd: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="disk full"):
        write_results(path, record(status="interrupted"))
    assert json.loads(path.read_text())["status"] == "completed"


def test_provenance_says_where_a_number_comes_from() -> None:
    found = provenance("unlearnctl train", 3)
    assert set(found) == {"commit", "dirty", "versions", "hardware", "seed", "command"}
    assert found["commit"]
    assert found["versions"]["torch"]
    assert found["hardware"]["cores"] >= 1


def test_cache_hits_only_what_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLEARNCTL_CACHE", str(tmp_path))
    calls: list[int] = []

    def run() -> dict:
        calls.append(1)
        return {"s": {"m": GOOD}}

    def ask(identity: str, limit: int) -> dict:
        return cached_evaluate(identity, {"s": {"limit": limit}}, run)

    assert ask("a", 1) == ask("a", 1) == {"s": {"m": GOOD}}
    assert len(calls) == 1
    ask("b", 1)
    ask("a", 2)
    assert len(calls) == 3
    for file in tmp_path.rglob("*.json"):
        file.write_text(file.read_text()[:-5])
    ask("a", 1)
    assert len(calls) == 4
    ask("a", 1)
    assert len(calls) == 4


def test_a_cache_that_cannot_be_written_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UNLEARNCTL_CACHE", str(tmp_path / "file"))
    assert cached_evaluate("a", {"s": {}}, lambda: {"s": {"m": GOOD}}) == {"s": {"m": GOOD}}
