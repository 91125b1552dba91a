"""Corpora in every format, and the items of benchmarks."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Sequence
from functools import cache, partial

from tests.fuzz.target import Target, scratch
from unlearnctl.data.corpus import read_corpus
from unlearnctl.data.spec import CorpusSpec
from unlearnctl.evaluation.items import read_items

ROWS = [
    {"text": "w1 w2 w3", "prompt": "q", "alternate": ["a", "b"], "spans": [[0, 2], [3, 5]], "topic": "x"},
    {"text": "žluťoučký kůň \U0001f40e", "prompt": "", "alternate": "one", "spans": [[1, 4]], "topic": "y"},
]
FORMS = (
    {},
    {"prompt_field": "prompt", "min_chars": 3},
    {"alternate_field": "alternate", "limit": 2},
    {"spans_field": "spans"},
    {"where": (("topic", ("x", 1, None)),)},
)


def read(kind: str, data: bytes) -> None:
    """As a corpus, with each of the forms in which a config may ask for its fields."""
    file = scratch("data") / f"f.{kind}"
    file.write_bytes(data)
    spec = CorpusSpec(str(file), format=kind, **FORMS[sum(data[-4:]) % len(FORMS)])  # type: ignore[arg-type]
    corpus = read_corpus(spec, "data.forget")
    assert corpus.texts
    for text in corpus.texts:
        text.encode()  # half a character would stop a tokeniser


def items(data: bytes) -> None:
    """As the items of a benchmark."""
    file = scratch("items") / "forget.json"
    file.write_bytes(data)
    for row in read_items(str(file.parent), "forget", "train", "eval.x", ["text"], ["alternate"]):
        assert row["text"].strip()


def saved(data: bytes) -> None:
    """As one file of a folder that `datasets` has saved; which one says the first byte."""
    whole = _saved_folder()
    names = sorted(whole)
    chosen = names[data[0] % len(names)] if data else names[0]
    folder = scratch("saved")
    shutil.rmtree(folder)
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(data[1:] if name == chosen else whole[name])
    read_corpus(CorpusSpec(str(folder)), "data.forget")


@cache
def _saved_folder() -> dict[str, bytes]:
    from datasets import Dataset

    folder = scratch("saved-seed")
    Dataset.from_list([{"text": row["text"]} for row in ROWS]).save_to_disk(str(folder))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _lines(end: str = "\n") -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + end for row in ROWS).encode()


def _table(mark: str) -> bytes:
    return f'text{mark}prompt{mark}topic\nw1 w2{mark}q{mark}x\n"a ""b"""{mark}{mark}y\n'.encode()


def _parquet() -> bytes:
    import pyarrow
    from pyarrow import parquet

    out = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist([{**r, "alternate": ["a"]} for r in ROWS]), out)
    return out.getvalue()


def _seeds(kind: str) -> Sequence[bytes]:
    made = {
        "jsonl": lambda: [_lines(), _lines("\r\n\n"), "\ufeff".encode() + _lines()],
        "json": lambda: [json.dumps(ROWS).encode(), json.dumps(ROWS, indent=1).encode()],
        "csv": lambda: [_table(","), _table(",").replace(b"\n", b"\r\n")],
        "tsv": lambda: [_table("\t")],
        "text": lambda: ["= Title =\nw1 w2\n\n č w3\n".encode()],
        "parquet": lambda: [_parquet()],
        "items": lambda: [_lines(), json.dumps([{**r, "alternate": ["a"]} for r in ROWS]).encode()],
        "saved": lambda: [bytes([k]) + v for k, (_, v) in enumerate(sorted(_saved_folder().items()))],
    }
    return made[kind]()


SHARES = {"jsonl": 8, "json": 6, "csv": 6, "tsv": 4, "text": 4, "parquet": 2, "saved": 0.02}
TARGETS = [
    *(Target(f"data-{kind}", partial(read, kind), partial(_seeds, kind), SHARES[kind])
      for kind in SHARES if kind != "saved"),
    Target("data-items", items, partial(_seeds, "items"), 2),
    Target("data-saved", saved, partial(_seeds, "saved"), SHARES["saved"]),
]  # fmt: skip
