"""Reads the corpus and lays out what an entry asks for, in the working directory.

`make` is a list of steps, each a mapping with one key:

    copy: [fixture, to]              texts, task, model, run or probes (see `fixtures`)
    write: {path: text or binary}    files
    repeat: [path, before, what, times, after]
    cut: {path: bytes}               keep the first so many bytes; negative: leave out so many at the end
    swap: [path, old, new]           in a text file
    set: {path: {a.b: value}}        in a JSON file
    tensors: {path: {name: list}}    a safetensors file of these; `dtype/` before a name gives it another dtype
    seal: path                       a delta.json: the checksum of the delta.safetensors beside it
    pickle: path                     a pickle that writes the file PWNED where it is loaded
    move, link: [from, to]           rename; symbolic link
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file

from tests.command import QUICK, succeed
from tests.models.tiny import tiny_model
from tests.models.words import word_tokenizer

HERE = Path(__file__).parent
TASK = """task: mine
dataset_path: json
dataset_kwargs: {data_files: {test: t/q.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: '{{q}}'
doc_to_choice: '{{c}}'
doc_to_target: a
metric_list: [{metric: acc}]
"""


@dataclass(frozen=True)
class Entry:
    """One mistake."""

    id: str
    args: list[str]
    line: str
    make: list[dict[str, Any]] = field(default_factory=list)
    without: str = ""  # cuda: only where there is none
    file: str = ""


def entries() -> list[Entry]:
    """All of the corpus, by file and place."""
    found = []
    for file in sorted(HERE.glob("*.yaml")):
        rows = yaml.safe_load(file.read_text(encoding="utf-8"))
        found += [Entry(**{"line": "", **row}, file=file.stem) for row in rows]
    return found


class Evil:
    """Unpickled, it leaves a mark."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch PWNED",))


def fixtures(store: Path) -> None:
    """Make what entries copy: good texts, a good task, one tiny model, one finished run, probes."""
    (store / "texts").mkdir()
    (store / "texts" / "f.jsonl").write_text('{"text": "w1 w2 w3 w4", "n": 1}\n' * 4)
    (store / "texts" / "r.txt").write_text("w5 w6 w7 w8 w9\n" * 4)
    (store / "task").mkdir()
    (store / "task" / "mine.yaml").write_text(TASK)
    (store / "task" / "q.jsonl").write_text('{"q": "w1 w2", "c": ["w3", "w4"], "a": 0}\n')
    tiny_model("llama").save_pretrained(store / "model")
    word_tokenizer().save_pretrained(store / "model")
    kept = (*QUICK, "trainer.checkpoint.every=100", f"output_dir={store}", "name=n", "run=r", "seed=3")
    succeed("train", "objective=rmu", *kept)
    (store / "train" / "n" / "r").rename(store / "run")
    probe = ("probe", "data.forget.limit=40", "data.retain.limit=40", "layers=[2]")
    succeed(*probe, f"output_dir={store}", "name=n", "run=r")
    (store / "probe" / "n" / "r").rename(store / "probes")


def lay_out(steps: list[dict[str, Any]], store: Path) -> None:
    """Take the steps, in order."""
    for step in steps:
        ((name, what),) = step.items()
        STEPS[name](what, store)


def _copy(what: list[str], store: Path) -> None:
    shutil.copytree(store / what[0], what[1], dirs_exist_ok=True)


def _write(what: dict[str, str | bytes], store: Path) -> None:
    for path, content in what.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())


def _repeat(what: list[Any], store: Path) -> None:
    path, before, text, times, after = what
    Path(path).write_text(before + text * times + after)


def _cut(what: dict[str, int], store: Path) -> None:
    for path, size in what.items():
        Path(path).write_bytes(Path(path).read_bytes()[:size])


def _swap(what: list[str], store: Path) -> None:
    text = Path(what[0]).read_text()
    assert what[1] in text, what
    Path(what[0]).write_text(text.replace(what[1], what[2]))


def _set(what: dict[str, dict[str, Any]], store: Path) -> None:
    for path, values in what.items():
        whole = json.loads(Path(path).read_text())
        for key, value in values.items():
            node, parts = whole, key.split(".")
            for part in parts[:-1]:
                node = node[part]
            node[parts[-1]] = value
        Path(path).write_text(json.dumps(whole))


def _tensors(what: dict[str, dict[str, Any]], store: Path) -> None:
    for path, named in what.items():
        split = {name.rpartition("/")[2]: (name.rpartition("/")[0], value) for name, value in named.items()}
        made = {
            name: torch.tensor(value, dtype=getattr(torch, kind or "float32"))
            for name, (kind, value) in split.items()
        }
        save_file(made, path)


def _seal(what: str, store: Path) -> None:
    data = Path(what).with_name("delta.safetensors").read_bytes()
    _set({what: {"sha256": hashlib.sha256(data).hexdigest()}}, store)


def _pickle(what: str, store: Path) -> None:
    Path(what).write_bytes(pickle.dumps(Evil()))


def _move(what: list[str], store: Path) -> None:
    Path(what[0]).rename(what[1])


def _link(what: list[str], store: Path) -> None:
    Path(what[1]).symlink_to(what[0])


STEPS = {
    "copy": _copy, "write": _write, "repeat": _repeat, "cut": _cut, "swap": _swap, "set": _set,
    "tensors": _tensors, "seal": _seal, "pickle": _pickle, "move": _move, "link": _link,
}  # fmt: skip
