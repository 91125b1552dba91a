"""An absent configuration or split is refused, and names those that exist; what is hidden is not data."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path

import pytest

from unlearnctl.data.corpus import read_corpus
from unlearnctl.data.spec import CorpusSpec
from unlearnctl.utils.errors import UserError

CARD = """---
configs:
- config_name: forget10
  data_files: a/f.json
- config_name: retain90
  data_files:
  - split: test
    path: [a/r*.json]
---
# A card
"""


def lay(folder: Path, files: Mapping[str, str]) -> Path:
    """Files by name; a text of one word stands for one row that says it."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f'{{"text": "{content}"}}\n{{"text": "{content}"}}\n' if content.isalnum() else content
        )
    return folder


def read(folder: Path, name: str | None = None, split: str = "train") -> list[str]:
    return sorted(set(read_corpus(CorpusSpec(str(folder), name=name, split=split), "data.forget").texts))


@pytest.mark.parametrize(
    ("files", "name", "split", "texts"),
    [
        (["forget10.jsonl", "retain90.jsonl"], "forget10", "train", ["forget10"]),
        (["forget10.json", "retain90.json", "full.json"], "retain90", "train", ["retain90"]),
        (["data/forget10.jsonl", "data/retain90.jsonl"], "forget10", "train", ["forget10"]),
        (["c/train.jsonl", "c/test.jsonl", "d/train.jsonl"], "c", "test", ["test"]),
        (["c/train/part.jsonl", "c/test/other.jsonl"], "c", "train", ["part"]),
        (["c-train.jsonl", "c-test.jsonl", "d-test.jsonl"], "c", "test", ["test"]),
        (["c-test-00000-of-00002.jsonl", "c-test-00001-of-00002.jsonl"], "c", "test", ["00002"]),
        (["train/p1.jsonl", "train/p2.jsonl", "test/q.jsonl"], None, "train", ["p1", "p2"]),
        (["train/p.jsonl", "test/q.jsonl"], None, "test", ["q"]),
        (["dev.jsonl", "test.jsonl"], None, "validation", ["dev"]),
        (["wiki-test.jsonl", "wiki-train.jsonl"], None, "test", ["test"]),
        (["data/train_sft-00000-of-00001.jsonl", "data/train_gen-00000-of-00001.jsonl"], None, "train_sft", ["00001"]),
        (["p1.jsonl", "p2.jsonl"], None, "train", ["p1", "p2"]),
        (["a.jsonl", ".ipynb_checkpoints/b.jsonl", "__MACOSX/c.jsonl", ".d.jsonl"], None, "train", ["a"]),
        (["a.jsonl", "README.txt", "LICENSE.txt", "dataset_infos.json", "notes.md"], None, "train", ["a"]),
    ],
)  # fmt: skip
def test_what_is_meant_is_read(
    files: list[str], name: str | None, split: str, texts: list[str], tmp_path: Path
) -> None:
    lay(tmp_path / "f", {file: Path(file).stem.split("-")[-1] for file in files})
    assert read(tmp_path / "f", name, split) == texts


@pytest.mark.parametrize(
    ("files", "name", "split", "line"),
    [
        (["forget10.jsonl", "retain90.jsonl"], "forget1", "train",
         "name=forget1: the folder F has no such configuration (did you mean 'forget10'?). It has: forget10, retain90"),
        (["a/train.jsonl", "b/train.jsonl", ".c/train.jsonl"], "x", "train",
         "name=x: the folder F has no such configuration. It has: a, b"),
        (["train.jsonl", "test.jsonl"], "x", "train",
         "name=x: the folder F has no configurations; set data.forget.name=null"),
        (["test.jsonl", "validation.jsonl"], None, "train",
         "split=train: the folder F has no such split. It has: test, validation"),
        (["train/a.jsonl", "test/a.jsonl"], None, "tset",
         "split=tset: the folder F has no such split (did you mean 'test'?). It has: test, train"),
        (["a/train.jsonl", "b/test.jsonl"], "b", "train",
         "split=train: the folder F/b has no such split. It has: test"),
        (["forget10.jsonl", "retain90.jsonl"], "forget10", "test",
         "split=test: the folder F has no such split. It has: train"),
        (["p1.jsonl", "p2.jsonl"], None, "test", "split=test: the folder F has no such split. It has: train"),
        (["data/train-00000-of-00001.jsonl"], None, "test",
         "split=test: the folder F has no such split. It has: train"),
    ],
)  # fmt: skip
def test_what_is_absent_is_refused(
    files: list[str], name: str | None, split: str, line: str, tmp_path: Path
) -> None:
    folder = lay(tmp_path / "f", dict.fromkeys(files, "w1"))
    with pytest.raises(UserError) as caught:
        read(folder, name, split)
    assert str(caught.value).replace(str(folder), "F") == f"data.forget.{line}"


def test_the_card_of_a_clone_names_configurations(tmp_path: Path) -> None:
    folder = lay(tmp_path / "f", {"a/f.json": "f", "a/r1.json": "r1", "a/r2.json": "r2", "README.md": CARD})
    assert read(folder, "forget10") == ["f"]
    assert read(folder, "retain90", "test") == ["r1", "r2"]
    refused = {
        ("retain90", "train"): "data.forget.split=train: the folder F has no such split. It has: test",
        ("forget01", "train"): "data.forget.name=forget01: the folder F has no such configuration "
        "(did you mean 'forget10'?). It has: a, forget10, retain90",
        (None, "train"): "data.forget.name=null: the folder F has several configurations; "
        "name one of: forget10, retain90",
    }
    for (name, split), line in refused.items():
        with pytest.raises(UserError) as caught:
            read(folder, name, split)
        assert str(caught.value).replace(str(folder), "F") == line


@pytest.mark.parametrize("path", ["../secret.jsonl", "/etc/passwd"])
def test_a_card_keeps_to_its_folder(path: str, tmp_path: Path) -> None:
    lay(tmp_path, {"secret.jsonl": "secret"})
    card = f"---\nconfigs:\n- config_name: c\n  data_files: {path}\n---\n"
    folder = lay(tmp_path / "f", {"train.jsonl": "w1", "README.md": card})
    assert read(folder) == ["w1"]


def test_packed_parts_lie_beside_others(tmp_path: Path) -> None:
    folder = lay(tmp_path / "f", {"part1.jsonl": "w1"})
    (folder / "part2.jsonl.gz").write_bytes(gzip.compress(b'{"text": "w2"}\n'))
    assert read(folder) == ["w1", "w2"]


def test_files_that_are_no_parts_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = lay(tmp_path / "f", {"forget.jsonl": "w1", "other.jsonl": "w2"})
    read(folder)
    assert (
        capsys.readouterr().out
        == f"data.forget.path={folder}: 2 files read as one corpus: forget.jsonl, other.jsonl\n"
    )


def test_a_saved_dataset_says_what_it_is(tmp_path: Path) -> None:
    from datasets import Dataset, NamedSplit

    Dataset.from_list([{"text": "w1"}], split=NamedSplit("test")).save_to_disk(str(tmp_path / "s"))
    assert read(tmp_path / "s", None, "test") == ["w1"]
    for name, split, line in (
        (
            "c",
            "test",
            "data.forget.name=c: the saved dataset S has no configurations; set data.forget.name=null",
        ),
        (None, "train", "data.forget.split=train: the saved dataset S holds the split test"),
    ):
        with pytest.raises(UserError) as caught:
            read(tmp_path / "s", name, split)
        assert str(caught.value).replace(str(tmp_path / "s"), "S") == line
