"""results.json is checked, atomic and finite; base scores are cached by what they depend on."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from unlearnctl.evaluation.cache import cached_evaluate, kept_answers
from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.results.metric import CHARACTERS, SAMPLES, Metric, Sample
from unlearnctl.results.provenance import provenance
from unlearnctl.results.record import (
    items_to_json,
    paired_tests,
    samples_to_json,
    scores_from_json,
    scores_to_json,
    write_items,
)
from unlearnctl.results.schema import (
    SCHEMA,
    STATUSES,
    Attack,
    Corpus,
    Entry,
    Repair,
    Results,
    write_results,
)
from unlearnctl.utils.errors import UserError

GOOD = Metric(0.5, 0.1, 20, 0.25, "forget", "lower")
SAID = (Sample("How is it?", "<b>bad</b>", 0.9), Sample("And now?", "", None))
SCORES = {"s": {"m": GOOD, "k": Metric(0.5, 0.5, 2, None, "retain", "higher", (0.1, 0.9), (1.0, 0.0), SAID)}}


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
    parts = scores_to_json(SCORES), items_to_json(SCORES), samples_to_json(SCORES)
    assert scores_from_json(*json.loads(json.dumps(parts))) == SCORES


def test_samples_are_few_and_short_and_have_a_file_of_their_own(tmp_path: Path) -> None:
    prompts = [f"{'x' * CHARACTERS}{place}" for place in range(SAMPLES + 5)]
    shown = GOOD.showing(prompts, ["y" * 2 * CHARACTERS] * len(prompts), [0.5] * len(prompts))
    assert shown.samples is not None
    assert len(shown.samples) == SAMPLES
    assert shown.samples[3] == Sample("x" * (CHARACTERS - 1) + "3", "y" * CHARACTERS, 0.5)
    assert shown.to_json() == GOOD.to_json()
    write_items(tmp_path, before={"s": {"m": GOOD}}, after={"s": {"m": shown, "k": GOOD}})
    saved = json.loads((tmp_path / "samples.json").read_text())
    assert saved["before"] == {}
    assert list(saved["after"]["s"]) == ["m"]
    assert saved["after"]["s"]["m"][0] == {
        "prompt": prompts[0][-CHARACTERS:], "reply": "y" * CHARACTERS, "score": 0.5,
    }  # fmt: skip
    (tmp_path / "none").mkdir()
    write_items(tmp_path / "none", after={"s": {"m": GOOD}})
    assert not (tmp_path / "none/samples.json").exists()


def test_paired_tests_are_made_where_the_items_are_known() -> None:
    found = paired_tests(SCORES, SCORES)
    assert found == {"s": {"k": {"test": "McNemar", "lower": 0, "higher": 0, "p": 1.0}}}
    assert paired_tests({}, SCORES) == {"s": {}}


def test_a_number_that_is_not_finite_becomes_null() -> None:
    assert Metric(float("nan"), float("inf"), 1, None, "retain", "lower").to_json()["value"] is None


@pytest.mark.parametrize(
    ("bad", "line"),
    [
        (record(schema="other"), "schema='other': must be unlearnctl/results/1"),
        (record(status="done"), "status=done: must be one of completed"),
        (record(config=None), "config: required in results.json"),
        (record(after={"s": {"m": {"value": "1"}}}), "after.s.m.value='1': must be a number or null"),
        (record(after={"s": {"m": 1}}), "after.s.m=1: must be a mapping"),
        (record(attacks={}), "attacks={}: must be a list"),
        (record(attacks=[{"variant": "v", "scores": {}}]), "attacks[0].attack: required"),
        (record(data={"forget": {"rows": "x"}}), "data.forget.rows='x': must be a number or null"),
    ],
)
def test_what_is_wrong_is_named_and_not_written(bad: dict, line: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(line)):
        write_results(tmp_path / "results.json", bad)
    assert not list(tmp_path.iterdir())


def test_the_documentation_names_every_key() -> None:
    text = (Path(__file__).parents[2] / "docs/results_schema.md").read_text(encoding="utf-8")
    fields = {name for part in (Results, Entry, Attack, Repair, Corpus) for name in part.model_fields}
    assert [name for name in sorted(fields) if f"`{name}`" not in text] == []
    assert all(f"`{status}`" in text for status in STATUSES)


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

    def run(answers: object) -> dict:
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
    assert cached_evaluate("a", {"s": {}}, lambda answers: {"s": {"m": GOOD}}) == {"s": {"m": GOOD}}


def test_a_killed_evaluation_resumes_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("UNLEARNCTL_CACHE", str(tmp_path))
    asked: list[int] = []

    def run(answers: Answers, stop: bool) -> dict:
        def answer(item: int) -> int:
            if stop and len(asked) == 3:
                raise KeyboardInterrupt
            asked.append(item)
            return item

        total = sum(answers.each("k", range(5), answer))
        return {"s": {"m": replace(GOOD, value=float(total))}}

    def whole(identity: str, stop: bool) -> dict:
        scores = run(answers := kept_answers(identity, {"s": {}}), stop)
        answers.forget()
        return scores

    with pytest.raises(KeyboardInterrupt):
        whole("weights", True)
    other = whole("other weights", False)
    assert asked == [0, 1, 2, *range(5)]
    assert "cut off" not in capsys.readouterr().out
    again = whole("weights", False)
    assert again == other
    assert asked == [0, 1, 2, *range(5), 3, 4]
    assert "evaluation: resumes after 3 answers of an interrupted one" in capsys.readouterr().out
    assert not list((tmp_path / "answers").iterdir())
