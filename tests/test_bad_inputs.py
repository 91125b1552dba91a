"""Every mistake of the corpus is one line that names its cause, exit code 2, before weights load; nothing is written.

`python -m tests.bad_inputs.times` prints how long each takes, alone and with the start of its process.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter, namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.bad_inputs.bench import Entry, entries, fixtures, lay_out
from tests.command import QUICK, Done, run
from tests.forks import Server, server

ALL = entries()
ROOT = Path(__file__).parent.parent
VALUES = re.compile(r"'[^']*'|[\d.]+|\S*/\S*|\[[^\]]*\]")  # what differs between two messages of one kind


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    fixtures(folder)
    return folder


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("datasets")))
        with server(tmp_path_factory.mktemp("forks")) as found:
            yield found


def tree(folder: Path) -> dict[str, bytes | None]:
    """What is there, with the content of files."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def with_line_numbers(expected: str, place: Path) -> str:
    """`FILE:<TEXT>` becomes `FILE:N`, where line N is the first of FILE that holds TEXT.

    A saved config has a line more with each new key, which is no reason to rewrite what is expected.
    """

    def numbered(match: re.Match[str]) -> str:
        lines = (place / match[1]).read_text().splitlines()
        return f"{match[1]}:{next(n for n, line in enumerate(lines, 1) if match[2] in line)}"

    return re.sub(r"([\w./]+):<(.+?)>", numbered, expected)


def check(entry: Entry, place: Path, code: int, out: str, err: str) -> None:
    assert code == 2, out + err
    assert err.startswith("error: "), err
    assert err.count("\n") == 1, err
    assert err.endswith("\n")
    assert "Traceback" not in out + err
    found = err.removeprefix("error: ").removesuffix("\n")
    expected = with_line_numbers(entry.line, place)
    if expected.endswith("..."):
        found = found[: len(expected) - 3] + "..."
    assert found == expected


def parameters() -> list[Any]:
    """Each entry; those that get a message of which there is an example already are left to `make test-all`."""
    seen: set[tuple[str, str]] = set()
    found = []
    for entry in ALL:
        about = entry.line.partition(": ")[2] or entry.line
        kind = (entry.args[0], VALUES.sub("_", about))
        found.append(
            pytest.param(entry, id=f"{entry.file}/{entry.id}", marks=[pytest.mark.full] * (kind in seen))
        )
        seen.add(kind)
    return found


@pytest.mark.parametrize("entry", parameters())
def test_one_line(entry: Entry, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if entry.without == "cuda" and torch.cuda.is_available():
        pytest.skip("says that there is no GPU")
    monkeypatch.chdir(tmp_path)
    lay_out(entry.make, store)
    for kind in ("AutoModelForCausalLM", "AutoModel"):
        monkeypatch.setattr(f"transformers.{kind}.from_pretrained", lambda *a, **k: pytest.fail("loaded"))
    before = tree(tmp_path)
    done = run(*entry.args)
    check(entry, tmp_path, done.code, done.out, done.err)
    assert tree(tmp_path) == before


def sample() -> list[Any]:
    """Every twelfth, of all files; the first of each file starts an interpreter, the others are forked from one."""
    chosen = [entry for entry in ALL[::12] if not entry.without]
    files = [entry.file for entry in chosen]
    return [
        pytest.param(entry, files.index(entry.file) == place, id=f"{entry.file}/{entry.id}")
        for place, entry in enumerate(chosen)
    ]


@pytest.mark.full
@pytest.mark.parametrize(("entry", "started"), sample())
def test_in_a_process_of_its_own(
    entry: Entry, started: bool, store: Path, forks: Server, tmp_path: Path
) -> None:
    place = tmp_path / "here"
    place.mkdir()
    held = Path.cwd()
    os.chdir(place)
    try:
        lay_out(entry.make, store)
    finally:
        os.chdir(held)
    before = tree(place)
    if started:
        done = start(entry.args, place, HF_DATASETS_CACHE=str(tmp_path / "datasets"))
    else:
        done = forks.run(*entry.args, cwd=place)
    check(entry, place, done.code, done.out, done.err)
    assert tree(place) == before


def start(args: list[str], place: Path, **environment: str) -> Done:
    """The command in an interpreter of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-m", "unlearnctl", *args]
    done = subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_the_corpus_is_large_and_its_ids_are_unique() -> None:
    assert len(ALL) >= 200
    assert max(Counter((e.file, e.id) for e in ALL).values()) == 1
    assert {e.file for e in ALL} >= {"configs", "corpora", "checkpoints", "tasks", "runs"}


def test_no_disk_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
    done = run("train", "name=n", "run=r")
    assert (done.code, done.err) == (
        2,
        "error: output_dir=outputs/train/n/r: not enough disk space: the checkpoint and reports need about 0.05 GB, "
        "0.00 GB are free\n",
    )
    assert not list(tmp_path.iterdir())


def test_debug_shows_the_traceback() -> None:
    done = run("train", "objective.layer=8", "--debug")
    assert done.code == 1
    assert done.err.startswith("Traceback (most recent call last):")
    assert "UserError: objective.layer=8: " in done.err.splitlines()[-1]


def test_a_sweep_continues_after_a_failing_member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("train", *QUICK, "-m", "objective.layer=8,9")
    assert done.code == 2
    assert done.err.count("\n") == 3
    again = "to run them again: unlearnctl train --resume outputs/train/sweep/"
    assert f"error: 2 of the sweep's members failed, as reported above; {again}" in done.err
