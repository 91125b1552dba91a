"""Export and eval of a run: a whole folder, the run's own scores, and every refusal in one line."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from tests.command import QUICK, run, succeed


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One quick run, shared; tests copy it before they damage it."""
    folder = tmp_path_factory.mktemp("trained")
    return Path(succeed("train", *QUICK, f"output_dir={folder}", "run=r").run_dir)


@pytest.fixture
def copy(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(trained, "r"))


def refused(*args: str) -> str:
    done = run(*args)
    assert done.code == 2, done.out
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1, done.err
    return done.err


def test_an_export_is_a_model_folder_with_a_card(copy: Path) -> None:
    out = succeed("export", "run=r", "to=m").out
    assert {"config.json", "tokenizer.json", "model.safetensors", "README.md"} <= {
        p.name for p in Path("m").iterdir()
    }
    assert "model.path=m" in out
    assert not Path("m.partial").exists()


def test_existing_target(copy: Path) -> None:
    Path("m").mkdir()
    assert "to=m: exists already" in refused("export", "run=r", "to=m")
    assert not list(Path("m").iterdir())


@pytest.mark.parametrize("damage", [b"", b"cut"])
def test_damaged_checkpoint(damage: bytes, copy: Path) -> None:
    (copy / "checkpoint" / "delta.safetensors").write_bytes(damage)
    assert "damaged or cut short" in refused("export", "run=r", "to=m")
    assert "damaged or cut short" in refused("eval", "run_dir=r", "eval=[smoke]")
    assert sorted(p.name for p in Path().iterdir()) == ["r"]


def test_missing_checkpoint(copy: Path) -> None:
    shutil.rmtree(copy / "checkpoint")
    assert "no delta checkpoint there" in refused("export", "run=r", "to=m")
    assert "no delta checkpoint there" in refused("eval", "run_dir=r", "eval=[smoke]")


@pytest.mark.parametrize("content", ["", "[]", '{"config": {}}'])
def test_damaged_results(content: str, copy: Path) -> None:
    (copy / "results.json").write_text(content)
    assert "results.json is damaged" in refused("export", "run=r", "to=m")


def test_a_checkpoint_of_another_base(copy: Path) -> None:
    manifest = copy / "checkpoint" / "delta.json"
    data = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**data, "identity": "other@0:float32", "content": "0"}))
    assert "its checkpoint was made from other@0:float32" in refused("export", "run=r", "to=m")
    assert "its checkpoint was made from other@0:float32" in refused("eval", "run_dir=r", "eval=[smoke]")


def test_no_disk_space_for_the_whole_model(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
    assert "to=m: not enough disk space: the whole model needs" in refused("export", "run=r", "to=m")
    assert not Path("m").exists()


def test_a_run_of_another_verb_is_no_base_for_eval(copy: Path) -> None:
    measured = succeed("eval", "eval=[smoke]", "device=cpu", "run=e").run_dir
    assert "not a run of `unlearnctl train`" in refused("eval", f"run_dir={measured}", "eval=[smoke]")
