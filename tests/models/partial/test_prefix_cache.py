"""A cache on disk is used if every byte is right, and computed again otherwise."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from unlearnctl.models.partial import prefix_cache
from unlearnctl.models.partial.prefix_cache import digest, make_room, open_rows, write_rows

KEY = {"model": "base@1", "rows": "abc", "frozen": {"forget": [2]}}


def parts() -> Iterator[dict[str, torch.Tensor]]:
    for i in range(4):
        yield {f"forget/all/{i}@in": torch.full((i + 1, 3), float(i), dtype=torch.bfloat16)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(prefix_cache, "SHARD_BYTES", 10)  # several shards
    write_rows(tmp_path, KEY, parts())
    return tmp_path / digest(KEY)


def test_what_was_written_is_read(folder: Path) -> None:
    rows = open_rows(folder.parent, KEY)
    assert rows is not None
    assert len(list(folder.glob("rows-*.safetensors"))) == 3
    assert set(rows) == {f"forget/all/{i}@in" for i in range(4)}
    assert rows["forget/all/2@in"].tolist() == [[2.0] * 3] * 3
    assert rows["forget/all/2@in"].dtype == torch.bfloat16
    assert "forget/all/9@in" not in rows
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def manifest_of_another_model(folder: Path) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["key"]["model"] = "base@2"
    path.write_text(json.dumps(manifest))


DAMAGE = {
    "a bit flipped": lambda f: flip(f / "rows-00001.safetensors"),
    "cut short": lambda f: os.truncate(f / "rows-00000.safetensors", 30),
    "a shard missing": lambda f: (f / "rows-00002.safetensors").unlink(),
    "no manifest": lambda f: (f / "manifest.json").unlink(),
    "manifest not JSON": lambda f: (f / "manifest.json").write_text("{"),
    "manifest a list": lambda f: (f / "manifest.json").write_text("[]"),
    "stale: another model under this name": manifest_of_another_model,
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_noticed_and_cleared(folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    DAMAGE[name](folder)
    assert open_rows(folder.parent, KEY) is None
    assert "damaged or stale" in capsys.readouterr().out
    assert not folder.exists()
    assert len(write_rows(folder.parent, KEY, parts())) == 4


def test_another_key_finds_nothing(folder: Path) -> None:
    assert open_rows(folder.parent, {**KEY, "rows": "abd"}) is None
    assert folder.exists()


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Iterator[dict[str, torch.Tensor]]:
        yield from parts()
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        write_rows(tmp_path, KEY, failing())
    assert not list(tmp_path.iterdir())


def test_who_comes_second_uses_the_first_ones(folder: Path) -> None:
    before = (folder / "manifest.json").stat().st_mtime_ns
    assert len(write_rows(folder.parent, KEY, parts())) == 4
    assert (folder / "manifest.json").stat().st_mtime_ns == before
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_the_least_recently_used_make_room(tmp_path: Path) -> None:
    for age, name in enumerate(("newest", "middle", "oldest")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rows").write_bytes(bytes(100))
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    make_room(tmp_path, 150, bound=350)
    assert {p.name for p in tmp_path.iterdir()} == {"newest", "middle"}
    make_room(tmp_path, 100, bound=300)
    assert {p.name for p in tmp_path.iterdir()} == {"newest", "middle"}
    make_room(tmp_path, 300, bound=300)
    assert not list(tmp_path.iterdir())
    make_room(tmp_path / "absent", 1, bound=1)
