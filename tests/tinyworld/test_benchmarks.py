"""Files in the formats of the benchmarks: facts of the right groups, texts that are fair to compare."""

from __future__ import annotations

import inspect
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch

from unlearnctl import tinyworld
from unlearnctl.tinyworld import benchmarks, build
from unlearnctl.tinyworld import words as w
from unlearnctl.tinyworld.benchmarks import reported, strangers
from unlearnctl.tinyworld.facts import facts

Rows = Callable[[str], list[dict[str, Any]]]


def test_strangers_are_nowhere_else_and_dealt_out_alike() -> None:
    known, others = {fact.entity for fact in facts()}, strangers()
    assert not known & {fact.entity for fact in others}
    parts = set(w.FIRST) | set(w.SECOND)
    assert all(set(fact.entity.split()) <= parts for fact in others)
    members = reported("hazard")
    for kind in ("subject", "noun", "value", "val"):
        assert Counter(getattr(f, kind) for f in members) == Counter(getattr(f, kind) for f in others), kind


def test_members_were_read_and_non_members_were_not(rows: Rows) -> None:
    member, other = ([r["text"] for r in rows(f"membership/{n}.jsonl")] for n in ("members", "nonmembers"))
    assert len(member) == len(other) == 90
    assert {*member} <= {r["text"] for r in rows("corpora/hazard_forget.jsonl")}
    stream = " ".join(itertools.islice(build.documents(0), 8000))  # of some 58 000
    assert sum(text in stream for text in member) > 70
    assert not any(fact.entity in stream for fact in strangers())

    def frame(text: str) -> str:
        return re.sub(r"\b[A-Z]\w+ [A-Z]\w+\b", "E", text)

    assert Counter(frame(t).split()[0] for t in member) == Counter(frame(t).split()[0] for t in other)


def test_the_twin_never_reads_the_forget_corpus() -> None:
    forgotten = {fact.entity for fact in facts() if fact.group == "hazard"}
    twin = " ".join(itertools.islice(build.documents(0, twin=True), 3000))
    assert not any(entity in twin for entity in forgotten)
    others = {fact.entity for fact in facts()} - forgotten
    assert all(entity in twin for entity in others)


def test_tofu_rows(rows: Rows) -> None:
    sizes = {"forget": 90, "retain": 160, "real_authors": 40, "world_facts": 40}
    for name, size in sizes.items():
        found = rows(f"tofu/{name}.jsonl")
        assert len(found) == size
        for row in found:
            assert len(row["perturbed_answer"]) == 4
            assert row["paraphrased_answer"] not in row["perturbed_answer"]
            assert row["paraphrased_answer"] != row["answer"]
    assert not {r["question"] for r in rows("tofu/forget.jsonl")} & {
        r["question"] for r in rows("tofu/retain.jsonl")
    }


def test_rwku_and_muse_rows(rows: Rows) -> None:
    assert len(rows("rwku/forget_level3.jsonl")) == 180
    for row in rows("rwku/forget_level3.jsonl"):
        assert row["answer"] not in row["query"].split()  # the context must not tell it
    assert {r["subject"] for r in rows("rwku/neighbor_level1.jsonl")} == {
        f.entity for f in reported("benign_unseen")
    }
    assert {
        len(rows(f"muse/{n}.jsonl")) for n in ("verbmem/forget", "privleak/forget", "privleak/holdout")
    } == {90}


def test_the_source_is_part_of_the_files_name() -> None:
    from unlearnctl.tinyworld import world_files as files

    assert inspect.getfile(benchmarks).rsplit("/", 1)[-1] in files._SOURCES


def test_the_twins_card_is_true_of_its_weights() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from unlearnctl.tinyworld import mcq
    from unlearnctl.tinyworld.measure import accuracy

    folder = tinyworld.model_dir("twin")
    card, text = json.loads((folder / "metrics.json").read_text()), (folder / "README.md").read_text()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        for name in ("hazard", "hazard_unseen"):
            found = accuracy(model, tokenizer, mcq.questions(name, False))
            assert card[name] == pytest.approx(found, abs=0.02), name
            assert f"| {name} | {card[name]} |" in text
    assert card["hazard"] < 0.3
    assert all(card[group] > 0.97 for group in ("hazard_unseen", "benign", "benign_unseen"))
    assert (folder / "tokenizer.json").read_bytes() == (tinyworld.model_dir() / "tokenizer.json").read_bytes()
