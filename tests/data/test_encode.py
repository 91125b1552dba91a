"""Nothing is left out or cut without a number; long texts split into pieces lose nothing, and cost no more memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.models.words import word_tokenizer
from unlearnctl.data.corpus import Corpus
from unlearnctl.data.encode import Encoder, first_characters
from unlearnctl.data.streams import load_data
from unlearnctl.reporting.losses import losses
from unlearnctl.utils.errors import UserError

TEN = " ".join(f"w{i}" for i in range(10))


def test_a_long_text_in_pieces_loses_no_token() -> None:
    tokenizer = word_tokenizer()
    encoder = Encoder(tokenizer, 5, "k", "split")
    rows = encoder.all_rows(Corpus([TEN, "w1"]))
    bos, *tokens = tokenizer(TEN)["input_ids"]
    assert [row.ids for row in rows] == [
        *([bos, *tokens[start : start + 4]] for start in (0, 4, 8)),
        tokenizer("w1")["input_ids"],
    ]
    assert [row.index for row in rows] == [0, 1, 2, 3]
    assert (encoder.lost.split, encoder.lost.cut, encoder.lost.texts) == (1, 0, 2)


def test_pieces_of_a_reply_stand_after_its_prompt() -> None:
    tokenizer = word_tokenizer()
    spans = [[[0, 2], [24, 29]]]  # w0, and w8 w9
    rows = Encoder(tokenizer, 7, "k", "split").all_rows(Corpus([TEN], ["w20 w21"], spans=spans))
    head, tokens = tokenizer("w20 w21")["input_ids"], tokenizer(TEN)["input_ids"][1:]
    assert [row.ids for row in rows] == [head + tokens[start : start + 4] for start in (0, 4, 8)]
    assert [row.prompt for row in rows] == [3, 3, 3]
    assert [row.spans for row in rows] == [[[3, 4]], [], [[3, 5]]]


def test_what_is_lost_is_counted() -> None:
    encoder = Encoder(word_tokenizer(), 5, "k")
    prompts = ["w1", "w1", f"{TEN}", "w1", ""]
    rows = encoder.all_rows(Corpus(["w2", TEN, "w2", "w2 w3 w4", " "], prompts))
    assert [row.index for row in rows] == [0, 1, 3]
    lost = encoder.lost
    assert (lost.texts, lost.cut, lost.prompt, lost.nothing) == (5, 1, 1, 1)


def load(folder: Path, rows: list[dict[str, Any]], sides: tuple[str, ...] = (), **forget: Any) -> list[str]:
    (folder / "f.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "r.jsonl").write_text('{"text": "w50 w51"}\n')
    cfg = {
        "name": "d", "max_length": 5, "padding_side": "right", "shuffle": True,
        "forget": {"path": str(folder / "f.jsonl"), **forget}, "retain": {"path": str(folder / "r.jsonl")},
    }  # fmt: skip
    return losses({"data": load_data(cfg, word_tokenizer(), 0, None, ("forget", "retain", *sides)).record})


def test_one_line_a_corpus_says_what_a_run_does_not_see(tmp_path: Path) -> None:
    asked = [{"q": TEN, "text": "w1"}] * 9 + [{"q": "w2", "text": TEN}]
    assert load(tmp_path, asked, prompt_field="q") == [
        "data.forget: 9 of 10 rows left out (prompt longer than data.max_length=5), 1 of 1 cut to 5 tokens"
    ]
    mixed = [
        {"text": "w1 w2", "t": "a"},
        {"text": " ", "t": "a"},
        {"text": "w1 w2 w3", "t": "b"},
        {"text": "", "t": "a"},
    ]
    assert load(tmp_path, mixed, where={"t": ["a"]}) == [
        "data.forget: 3 of 4 rows left out (1 not of data.forget.where, 2 empty)"
    ]
    assert load(tmp_path, [{"text": TEN}, {"text": "w1 w2"}], long="split") == [
        "data.forget: 1 of 2 split, which makes 4 rows"
    ]
    assert load(tmp_path, [{"text": "w1 w2"}, {"text": TEN}], min_chars=10, max_length=4) == [
        "data.forget: 1 of 2 rows left out (shorter than data.forget.min_chars=10), 1 of 1 cut to 4 tokens"
    ]
    assert load(tmp_path, [{"text": "w1 w2"}]) == []
    assert load(tmp_path, [{"text": "w50 w51"}]) == ["data.retain: 1 of 1 texts are forget texts too"]


def test_texts_in_pieces_have_nothing_in_their_place(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^data\.forget\.long=split: this objective replaces each text"):
        load(tmp_path, [{"text": TEN}], ("refusal",), long="split")
    with pytest.raises(UserError, match=r"^data\.forget\.long=pieces: unknown\. Allowed: cut, split$"):
        load(tmp_path, [{"text": TEN}], long="pieces")


@pytest.mark.parametrize("long", ["cut", "split"])
def test_a_huge_text_is_tokenised_in_parts(long: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, text = word_tokenizer(), "w1 w2 w3 w4 w5 " * 200_000
    seen: list[int] = []
    whole = type(tokenizer).__call__

    def call(self: Any, given: Any, **how: Any) -> Any:
        seen.append(max(map(len, [given] if isinstance(given, str) else given)))
        return whole(self, given, **how)

    monkeypatch.setattr(type(tokenizer), "__call__", call)
    encoder = Encoder(tokenizer, 64, "k", long)
    rows = encoder.all_rows(Corpus([text]))
    assert max(seen) <= 100_000
    assert rows[0].ids == tokenizer(text[:1000])["input_ids"][:64]
    assert (encoder.lost.cut, encoder.lost.split) == ((1, 0) if long == "cut" else (0, 1))
    if long == "split":
        assert sum(len(row.ids) - 1 for row in rows) == 1_000_000


def test_what_few_tokens_cover_is_read_as_far_as_it_takes() -> None:
    tokenizer = word_tokenizer()
    text = "w1" + " " * 300_000 + TEN * 30
    assert first_characters(tokenizer, text, 8) == text
    assert Encoder(tokenizer, 8, "k").all_rows(Corpus([text]))[0].ids == tokenizer(text)["input_ids"][:8]
