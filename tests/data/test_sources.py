"""Patterns and lists of files, dotted fields and conversations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.models.words import word_tokenizer
from unlearnctl.data.corpus import read_corpus
from unlearnctl.data.encode import encode
from unlearnctl.data.spec import CorpusSpec
from unlearnctl.utils.errors import UserError

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} <eos>{% endfor %}"
    "{% if add_generation_prompt %}assistant {% endif %}"
)
SAID = [{"role": "user", "content": "w1 w2"}, {"role": "assistant", "content": "w3 w4"}]


def write(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def refusal(spec: CorpusSpec, folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_corpus(spec, "data.forget")
    return str(caught.value).replace(f"{folder}/", "")


def test_patterns_and_lists(tmp_path: Path) -> None:
    a, b = (write(tmp_path / f"{name}.jsonl", {"text": name}) for name in "ab")
    write(tmp_path / "README.txt", "about")
    assert read_corpus(CorpusSpec(f"{tmp_path}/*.jsonl"), "k").texts == ["a", "b"]
    assert read_corpus(CorpusSpec(f"{tmp_path}/*"), "k").texts == ["a", "b"]
    spec = CorpusSpec.from_config({"path": [b, a]}, "k")
    assert read_corpus(spec, "k").texts == ["b", "a"]
    assert refusal(CorpusSpec((a, f"{tmp_path}/*.jsonl")), tmp_path) == (
        "data.forget.path=[a.jsonl, *.jsonl]: a.jsonl is named twice"
    )
    assert refusal(CorpusSpec(f"{tmp_path}/*.csv"), tmp_path) == "data.forget.path=*.csv: no file matches"
    assert refusal(CorpusSpec((a, f"{tmp_path}/c.jsonl")), tmp_path) == (
        "data.forget.path=c.jsonl: no such file (did you mean 'b.jsonl'?)"
    )
    with pytest.raises(UserError, match=r"^k\.path=: required"):
        CorpusSpec.from_config({"path": []}, "k")


def test_dotted_fields(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"a": {"b": "deep", "l": ["x", "y"]}, "a.c": "flat"})
    for field, text in (("a.b", "deep"), ("a.l.1", "y"), ("a.c", "flat")):
        assert read_corpus(CorpusSpec(path, field=field), "k").texts == [text]
    assert refusal(CorpusSpec(path, field="a.d"), tmp_path) == (
        "data.forget.field=a.d: a.jsonl: line 1 has no such field (did you mean 'a.c'?). It has: a, a.c"
    )


def test_conversations_go_through_the_chat_template(tmp_path: Path) -> None:
    """All before the last reply does not count; messages, and prompt and text as two turns, are the same."""
    tokenizer = word_tokenizer()
    path = write(tmp_path / "m.jsonl", {"messages": SAID, "q": "w1 w2", "a": "w3 w4"})
    rows = []
    for spec in (
        CorpusSpec(path, field="messages", chat_template=True),
        CorpusSpec(path, field="a", prompt_field="q", chat_template=True),
    ):
        corpus = read_corpus(spec, "data.forget")
        tokenizer.chat_template = None
        with pytest.raises(
            UserError, match=r"^data\.chat_template=true: the model's tokenizer has no chat template"
        ):
            encode(corpus, tokenizer, 16, "data.forget")
        tokenizer.chat_template = TEMPLATE
        rows += encode(corpus, tokenizer, 16, "data.forget")
    whole = tokenizer("user w1 w2 <eos>assistant w3 w4 <eos>", add_special_tokens=False)["input_ids"]
    head = tokenizer("user w1 w2 <eos>assistant ", add_special_tokens=False)["input_ids"]
    assert rows[0] == rows[1]
    assert (rows[0].ids, rows[0].prompt) == (whole, len(head))


def test_conversations_that_cannot_be_read(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", {"messages": SAID})
    assert refusal(CorpusSpec(path, field="messages"), tmp_path) == (
        "data.forget.field=messages: m.jsonl: line 1: a list of messages; set data.chat_template=true to read "
        "them through the model's chat template"
    )
    chat = CorpusSpec(path, field="messages", chat_template=True)
    write(tmp_path / "m.jsonl", {"messages": SAID[:1]})
    assert refusal(chat, tmp_path) == (
        "data.forget.field=messages: m.jsonl: line 1: the last message is the user's; it must be the assistant's"
    )
    write(tmp_path / "m.jsonl", {"messages": [SAID[0], {"role": "assistant", "content": None}]})
    assert refusal(chat, tmp_path) == (
        "data.forget.field=messages: m.jsonl: line 1: message 2: its content is not a text"
    )
    tokenizer = word_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('system role not supported') }}"
    write(tmp_path / "m.jsonl", {"messages": SAID})
    with pytest.raises(UserError) as caught:
        encode(read_corpus(chat, "data.forget"), tokenizer, 16, "data.forget")
    assert str(caught.value) == (
        "data.forget: text 1: the model's chat template rejects it (system role not supported)"
    )
