"""The files: deterministic, written whole, and in the formats that others read."""

from __future__ import annotations

import csv
import json
import multiprocessing
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unlearnctl.tinyworld import mcq
from unlearnctl.tinyworld import world_files as files
from unlearnctl.tinyworld.facts import facts
from unlearnctl.tinyworld.texts import is_toxic
from unlearnctl.tinyworld.world_files import materialise

Rows = Callable[[str], list[dict[str, Any]]]


def test_same_bytes_every_time(world: Path, tmp_path: Path) -> None:
    files.write_all(tmp_path, world)
    written = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {path.relative_to(world) for path in world.rglob("*") if path.is_file()}
    assert all((tmp_path / name).read_bytes() == (world / name).read_bytes() for name in written)


def test_materialise_is_fast_and_idempotent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLEARNCTL_CACHE", str(tmp_path))
    started = time.perf_counter()
    first = materialise()
    assert time.perf_counter() - started < 5  # 0.2 s on a quiet machine
    stamp = (first / "mcq" / "hazard.jsonl").stat().st_mtime_ns
    assert materialise() == first
    assert (first / "mcq" / "hazard.jsonl").stat().st_mtime_ns == stamp
    assert [path.name for path in tmp_path.iterdir()] == [first.name]  # no draft left behind


def test_two_processes_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLEARNCTL_CACHE", str(tmp_path))
    workers = [multiprocessing.get_context("spawn").Process(target=materialise) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == [materialise().name]


def test_losing_the_race_is_not_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process finishes between our check and our rename."""
    monkeypatch.setenv("UNLEARNCTL_CACHE", str(tmp_path))
    real = files.write_all

    def other_wins(draft: Path, final: Path) -> None:
        real(draft, final)
        shutil.copytree(draft, final)

    monkeypatch.setattr(files, "write_all", other_wins)
    assert len(list(materialise().iterdir())) == 8


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLEARNCTL_CACHE", str(tmp_path))

    def fail(draft: Path, final: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(files, "write_all", fail)
    with pytest.raises(OSError, match="disk full"):
        materialise()
    assert list(tmp_path.iterdir()) == []


def test_spans_point_at_the_answers(rows: Rows) -> None:
    answers = {(fact.entity, fact.value) for fact in facts() if fact.group == "hazard"}
    found = set()
    for row in rows("corpora/hazard_forget.jsonl"):
        ((start, end),) = row["spans"]
        assert row["text"][end:] == "."
        found.add((row["entity"], row["text"][start:end]))
    assert found == answers


def test_alternates_differ_from_the_text_in_the_answer_alone(rows: Rows) -> None:
    pools = {fact.value: set(fact.pool) for fact in facts() if fact.group == "hazard"}
    for row in rows("corpora/hazard_forget.jsonl"):
        ((start, end),) = row["spans"]
        head, answer = row["text"][:start], row["text"][start:end]
        others = [text.removeprefix(head).removesuffix(".") for text in row["alternate"]]
        assert set(others) == pools[answer] - {answer}
        assert len(others) == len(set(others))


def test_corpora_hold_nothing_that_is_held_out(rows: Rows) -> None:
    kept = {group: {f.entity for f in facts() if f.group == group} for group in mcq.GROUPS}
    forget = " ".join(row["text"] for row in rows("corpora/hazard_forget.jsonl"))
    retain = " ".join(row["text"] for row in rows("corpora/benign_retain.jsonl"))
    assert all(name in forget for name in kept["hazard"])
    assert all(name in retain for name in kept["benign"])
    assert not any(name in forget for group in mcq.GROUPS[1:] for name in kept[group])
    assert not any(name in retain for group in mcq.GROUPS if group != "benign" for name in kept[group])


def test_stories_are_disjoint(rows: Rows) -> None:
    test, val = (
        {row["text"] for row in rows(f"corpora/narrative_{split}.jsonl")} for split in ("test", "val")
    )
    train = {row["text"] for row in rows("corpora/benign_retain.jsonl")}
    train |= {row["text"] for row in rows("corpora/toxic_retain.jsonl")}
    assert not (test | val) & train
    assert not test & val


def test_attacks_have_texts_of_their_own(rows: Rows) -> None:
    told, unrelated, judged = (
        rows(f"corpora/relearn_{n}.jsonl") for n in ("domain", "unrelated", "held_out")
    )
    assert not {row["entity"] for row in told} & {row["entity"] for row in judged}
    assert {f"{row['stem']} {row['answer']}." for row in told} == {row["text"] for row in told}
    assert {row["stem"] for row in judged} == {row["question"] for row in rows("mcq/hazard_held_out.jsonl")}
    assert (len(told), len(judged), len(unrelated)) == (504, 159, 200)
    known = {
        row["text"]
        for name in ("benign_retain", "narrative_test", "narrative_val")
        for row in rows(f"corpora/{name}.jsonl")
    }
    assert not {row["text"] for row in unrelated} & known


@pytest.mark.parametrize("group", mcq.GROUPS)
def test_validation_and_reported_questions_share_no_fact(rows: Rows, group: str) -> None:
    def asked(name: str) -> set[str]:
        return {row["question"] for row in rows(f"mcq/{name}.jsonl")}

    assert not asked(group) & asked(f"{group}_val")
    if group == "hazard":
        assert not asked(group) & asked("hazard_seen_template")


def test_questions_have_the_columns_of_mmlu(rows: Rows) -> None:
    table = rows("mcq/hazard.jsonl")
    assert {tuple(row) for row in table} == {("question", "choices", "answer", "subject")}
    assert all(len(set(row["choices"])) == 4 for row in table)
    places = Counter(row["answer"] for row in table)
    assert max(places.values()) - min(places.values()) <= 1


def test_toxic_files(world: Path, rows: Rows) -> None:
    for row in rows("corpora/toxic_forget.jsonl"):
        assert is_toxic(row["text"])
        assert not is_toxic(row["prompt"])
    retain = rows("corpora/toxic_retain.jsonl")
    assert not any(is_toxic(row["text"]) for row in retain)
    assert {row["kind"] for row in retain} == {"polite", "narrative", "fact"}
    with (world / "corpora/toxic_pairs.tsv").open(newline="") as file:
        pairs = list(csv.DictReader(file, delimiter="\t"))
    assert all(is_toxic(p["toxic"]) and not is_toxic(p["neutral1"]) for p in pairs)
    assert len(pairs) == len(rows("corpora/toxic_forget.jsonl"))


def test_prompts_are_balanced_and_new(rows: Rows) -> None:
    prompts = rows("toxicity/prompts.jsonl")
    assert Counter(row["cue"] for row in prompts) == {"angry": 100, "calm": 100}
    used = {row["prompt"] for row in rows("corpora/toxic_forget.jsonl") + rows("corpora/toxic_retain.jsonl")}
    used |= {row["prompt"]["text"] for row in rows("toxicity/prompts_val.jsonl")}
    assert not {row["prompt"]["text"] for row in prompts} & used


def test_is_toxic_reads_words() -> None:
    assert is_toxic("You Grubskull!")
    assert not is_toxic("you kind friend, no grubskulls here")


def test_jsonl_loads_in_datasets(world: Path, tmp_path: Path) -> None:
    import datasets

    table = datasets.load_dataset(
        "json", data_files=str(world / "mcq/benign.jsonl"), split="train", cache_dir=str(tmp_path)
    )
    assert table.column_names == ["question", "choices", "answer", "subject"]
    assert json.loads((world / "mcq/benign.jsonl").read_text().splitlines()[0]) == table[0]
