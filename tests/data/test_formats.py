"""Tables whose rows do not fit their header are refused; JSON is recognised by its content; packed files are read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow
import pytest

from unlearnctl.data import text_lines
from unlearnctl.data.corpus import read_corpus
from unlearnctl.data.spec import CorpusSpec
from unlearnctl.utils.errors import UserError

LINES = b'{"text": "w1"}\n{"text": "w2"}\n'


def texts(path: Path, **how: object) -> list[str]:
    return read_corpus(CorpusSpec(str(path), **how), "data.forget").texts  # type: ignore[arg-type]


def refusal(path: Path, **how: object) -> str:
    with pytest.raises(UserError) as caught:
        texts(path, **how)
    return str(caught.value).replace(f"{path.parent}/", "")


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("r.csv", "id,text\n1,Open, heat, then close\n", "line 2 has 4 cells, the header has 2"),
        ("r.csv", "text\nFirst, the salt\n", "line 2 has 2 cells, the header has 1"),
        ("r.csv", "id,text\n1,fine\n2\n", "line 3 has 1 cell, the header has 2"),
        ("r.tsv", "text\tn\na\tb\tc\n", "line 2 has 3 cells, the header has 2"),
        ("r.csv", '\ufeffid,text\r\n1,"a\r\nb"\r\n\r\n2,c,d\r\n', "line 5 has 3 cells, the header has 2"),
        ("r.csv", "text,n,text\na,b,c\n", "line 1: the header names 2 columns 'text'"),
        ("r.tsv", "text\t\na\tb\n", "line 1: column 2 of the header has no name"),
        ("r.csv", "text\n\n   \n", "empty: no text of at least 1 characters"),
    ],
)
def test_a_row_that_does_not_fit_its_header(name: str, content: str, line: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content.encode())
    assert refusal(tmp_path / name) == f"data.forget.path={name}: {line}"


def test_quotes_marks_and_blank_lines_are_no_cells(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_bytes('\ufeff\r\nid,text\r\n\r\n1,"a, ""b"""\r\n2,c\r\n'.encode())
    assert texts(tmp_path / "q.csv") == ['a, "b"', "c"]


def test_a_table_of_questions_needs_no_header(tmp_path: Path) -> None:
    """As MMLU's authors publish them; the right choices are the texts, the questions their prompts."""
    path = tmp_path / "virology_test.csv"
    path.write_text('"Which, w1?",w2,w3,w4,w5,C\nw6,"a ""b""",w7,w8,w9,A\n')
    how = {"field": "choices@answer", "prompt_field": "question"}
    corpus = read_corpus(CorpusSpec(str(path), **how), "data.forget")  # type: ignore[arg-type]
    assert (corpus.texts, corpus.prompts) == (["w4", 'a "b"'], ["Which, w1?", "w6"])
    path.write_text("w1,w2,w3,B\nw1,w2,B\n")
    line = "row 2 has 3 cells; expected a question, its choices and the letter of the right one"
    assert refusal(path, **how) == f"data.forget.path=virology_test.csv: {line}"


def test_columns_named_by_letters_are_a_header(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("question,A,B,answer\nw1,w2,w3,A\n")
    assert texts(tmp_path / "q.csv", field="answer") == ["A"]
    (tmp_path / "q.csv").write_text("answer,text,A,B\nA,w1,w2,w3\n")
    assert texts(tmp_path / "q.csv") == ["w1"]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.txt", "a.log", "a.JSON", "noend"])
def test_lines_of_objects_under_any_suffix(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(LINES)
    assert texts(tmp_path / name) == ["w1", "w2"]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_a_list_of_objects_under_either_suffix(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(json.dumps([{"text": "w1"}, {"text": "w2"}]))
    assert texts(tmp_path / name) == ["w1", "w2"]


def test_text_that_was_asked_for_stays_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(LINES)
    assert texts(tmp_path / "a.txt", format="text") == LINES.decode().splitlines()


def pack(path: Path, content: bytes) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(content))
    else:
        path.write_bytes(pyarrow.compress(content, codec="zstd", asbytes=True))
    return path


@pytest.mark.parametrize("end", [".gz", ".zst"])
@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl", LINES), ("a.json", LINES), ("a.txt", b"w1\nw2\n"), ("a.csv", b"text\nw1\nw2\n"),
     ("a.tsv", b"n\ttext\n1\tw1\n2\tw2\n")],
)  # fmt: skip
def test_packed_files_are_read(name: str, content: bytes, end: str, tmp_path: Path) -> None:
    assert texts(pack(tmp_path / f"{name}{end}", content)) == ["w1", "w2"]


@pytest.mark.parametrize("end", [".gz", ".zst"])
def test_a_packed_file_cut_short_is_refused(end: str, tmp_path: Path) -> None:
    """Its rows would otherwise be fewer, without a word."""
    rows = b"".join(b'{"text": "%d %d"}\n' % (i, i * i * 7919 % 10007) for i in range(20000))
    path = pack(tmp_path / f"a.jsonl{end}", rows)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert refusal(path).startswith(f"data.forget.path=a.jsonl{end}: cannot be read to its end (")
    path.write_bytes(b"something else")
    assert refusal(path).startswith(f"data.forget.path=a.jsonl{end}: cannot be read to its end (")


def test_packed_zeros_do_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "FREE", 1 << 20)
    path = pack(tmp_path / "a.jsonl.gz", b'{"text": "w1"}\n' * 200_000)
    assert refusal(path).endswith("a.jsonl.gz: unpacks to more than 100 times its size; unpack it first")
    monkeypatch.setattr(text_lines, "LONGEST", 1 << 20)
    assert refusal(pack(tmp_path / "b.txt.gz", b"a" * (1 << 21))).startswith(
        "data.forget.path=b.txt.gz: line 1 is longer than "
    )


def test_a_tsv_with_quotes_around_cells_is_read_as_a_spreadsheet_wrote_it(tmp_path: Path) -> None:
    (tmp_path / "q.tsv").write_text('text\tn\n"two\nlines"\t1\n"a ""word"""\t2\nplain\t3\n')
    assert read_corpus(CorpusSpec(str(tmp_path / "q.tsv")), "k").texts == ["two\nlines", 'a "word"', "plain"]


def test_a_ragged_tsv_is_refused_by_its_first_ragged_line_whatever_its_quotes(tmp_path: Path) -> None:
    (tmp_path / "q.tsv").write_text('text\tn\n"open\t1\ta\nb\t2\n')
    with pytest.raises(UserError, match=r"line 2 has 3 cells, the header has 2$"):
        read_corpus(CorpusSpec(str(tmp_path / "q.tsv")), "k")
