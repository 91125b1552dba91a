"""A corpus beyond a size lies on the disk and is tokenised as it is drawn; the rows and their order stay the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.models.words import word_tokenizer
from unlearnctl.data import text_store
from unlearnctl.data.corpus import Corpus, read_corpus
from unlearnctl.data.encode import Encoder
from unlearnctl.data.lazy_rows import LazyRows
from unlearnctl.data.spec import CorpusSpec
from unlearnctl.data.streams import ForgetRetain, load_data
from unlearnctl.data.text_store import Progress, TextStore
from unlearnctl.reporting.losses import losses
from unlearnctl.utils.errors import UserError

ROWS = [
    {"q": f"w{i % 7}", "text": " ".join(f"w{(i + k) % 90}" for k in range(2 + i % 9))} for i in range(300)
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLEARNCTL_CACHE", str(tmp_path / "cache"))


def config(tmp_path: Path, **forget: Any) -> dict[str, Any]:
    (tmp_path / "f.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "r.jsonl").write_text('{"text": "w50 w51"}\n')
    return {
        "name": "d", "max_length": 8, "padding_side": "right", "shuffle": True,
        "forget": {"path": str(tmp_path / "f.jsonl"), "prompt_field": "q", **forget},
        "retain": {"path": str(tmp_path / "r.jsonl")},
    }  # fmt: skip


def drawn(data: ForgetRetain) -> list[list[list[int]]]:
    batches = [data.micro_batches(step, 8, 8)[0]["forget"] for step in range(60)]
    return [[batch.input_ids.tolist(), batch.labels.tolist(), [batch.index.tolist()]] for batch in batches]


def test_texts_on_the_disk_are_those_in_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    held, spilled = TextStore(), TextStore()
    texts = ["", "ž kůň \U0001f40e", "w1 " * 9, "x"] * 40
    for text in texts:
        held.append(text)
    monkeypatch.setattr(text_store, "LARGE", 100)
    for text in texts:
        spilled.append(text)
    assert (held.large, spilled.large) == (False, True)
    for each in (held, spilled):
        assert list(each) == texts
        assert (len(each), each[-1], each[1:3]) == (len(texts), texts[-1], texts[1:3])
        with pytest.raises(IndexError):
            each[len(texts)]
    assert list((tmp_path / "cache").iterdir()) == []  # nothing to clear up


def test_a_large_corpus_gives_the_same_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = load_data(config(tmp_path), word_tokenizer(), 0)
    monkeypatch.setattr(text_store, "LARGE", 1000)
    large = load_data(config(tmp_path), word_tokenizer(), 0)
    assert isinstance(large.rows["forget"]["all"], LazyRows)
    assert drawn(large) == drawn(small)
    again = load_data(config(tmp_path), word_tokenizer(), 0)
    assert large.fingerprint() == again.fingerprint()
    ROWS[5]["text"] += " w9"
    changed = load_data(config(tmp_path), word_tokenizer(), 0)
    ROWS[5]["text"] = ROWS[5]["text"][:-3]
    assert large.fingerprint() != changed.fingerprint()
    assert losses({"data": large.record}) == [
        "data.forget: 300 texts are tokenised as they are drawn; of 150 looked at, "
        f"{large.record['data.forget']['cut']} of 150 cut to 8 tokens"
    ]


def test_where_something_stands_in_their_place_all_is_tokenised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = ("forget", "retain", "refusal")
    small = load_data(config(tmp_path), word_tokenizer(), 0, None, sides)
    monkeypatch.setattr(text_store, "LARGE", 1000)
    large = load_data(config(tmp_path), word_tokenizer(), 0, None, sides)
    assert isinstance(large.rows["forget"]["all"], list)
    assert drawn(large) == drawn(small)
    split = load_data(config(tmp_path, long="split"), word_tokenizer(), 0)
    assert isinstance(split.rows["forget"]["all"], list)


def test_a_text_without_tokens_gives_way_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = Corpus(["w1", "w2", "w3"], ["w5", "w5 " * 20, "w6"])
    rows = LazyRows(Encoder(word_tokenizer(), 8, "k"), corpus)
    assert [rows[i].index for i in range(3)] == [0, 2, 2]
    assert [row.index for row in rows[1:]] == [2, 2]
    with pytest.raises(UserError, match=r"^k: no row has a token to learn from within max_length=8$"):
        LazyRows(Encoder(word_tokenizer(), 8, "k"), Corpus(["w1"], ["w5 " * 20]))


def test_the_fingerprint_of_small_data_is_what_it_always_was(tmp_path: Path) -> None:
    """Older runs are found, and resume."""
    cfg = config(tmp_path)
    old = [[{"texts": [r["text"] for r in ROWS], "prompts": [r["q"] for r in ROWS], "alternates": None, "spans": None}],
           [{"texts": ["w50 w51"], "prompts": None, "alternates": None, "spans": None}]]  # fmt: skip
    data = load_data(cfg, word_tokenizer(), 0)
    assert data.digest == hashlib.sha256(json.dumps(old).encode()).hexdigest()[:16]


def test_a_disk_that_is_full_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = config(tmp_path)
    (tmp_path / "cache").write_text("a file in the way")
    monkeypatch.setattr(text_store, "LARGE", 10)
    with pytest.raises(
        UserError, match=r"cannot hold the texts of this corpus \(.*; set UNLEARNCTL_CACHE to"
    ):
        read_corpus(CorpusSpec(cfg["forget"]["path"]), "data.forget")


def test_long_work_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(text_store, "EVERY", 0.0)
    Progress("data.forget: {count} rows read").at(12345)
    assert capsys.readouterr().out == "data.forget: 12,345 rows read\n"
