"""A run is one word in every verb, and the old keys still name it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.command import QUICK, run, succeed
from unlearnctl.arguments import prepared
from unlearnctl.commands import find


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    return Path(succeed("train", *QUICK, f"output_dir={folder}", "name=n", "run=r").run_dir)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["eval", "a/b", "seed=1"], ["seed=1", "run_dir=a/b"]),
        (["eval", "--cfg", "job", "a"], ["--cfg", "job", "run_dir='a'"]),
        (["attack", "-m", "a/b", "c/d"], ["-m", "run_dir=a/b,c/d"]),
        (["repair", "a/b", "eval.x.limit=1", "data.max_length=9"],
         ["++eval.x.limit=1", "++data.max_length=9", "run_dir=a/b"]),
        (["eval", "a/b", "eval=[x]", "eval.x.limit=1"], ["eval=[x]", "eval.x.limit=1", "run_dir=a/b"]),
        (["export", "a/b", "to=c"], ["to=c", "run=a/b"]),
        (["export", "run_dir=a", "to=c"], ["run=a", "to=c"]),
        (["eval", "eval.x.limit=1"], ["eval.x.limit=1"]),
    ],
)  # fmt: skip
def test_the_run_becomes_the_key_of_its_verb(typed: list[str], meant: list[str]) -> None:
    assert sorted(prepared(find(typed[0]), typed[1:])) == sorted(meant)


@pytest.mark.full
@pytest.mark.parametrize(
    "name", ["5", "null", "with a space", "a,b", "it's", "x=y", "${x}", "back\\", "a\\'b", "[a]"]
)
def test_a_run_of_any_name_is_evaluated(
    name: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, name)
    done = succeed("eval", name, "eval.smoke.limit=1", "run=e", "device=cpu")
    found = yaml.safe_load((Path(done.run_dir) / "config.yaml").read_text())
    assert str(found["run_dir"]).replace("\\$", "$") == name
    assert done.run_dir == "outputs/eval/n/e"


@pytest.mark.full
def test_an_export_by_position_is_the_run_s(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, "r")
    succeed("export", "r", "to=by-position")
    succeed("export", "run=r", "to=by-key")
    assert Path("by-position/model.safetensors").read_bytes() == Path("by-key/model.safetensors").read_bytes()


@pytest.mark.full
@pytest.mark.parametrize(
    ("args", "line"),
    [
        ((b"train", b"run=\xff"), "run: not UTF-8 (character 5 of it); rename the file or folder"),
        ((b"train", b"resume=a\xff"), "resume: not UTF-8 (character 9 of it); rename the file or folder"),
        ((b"eval", b"\xe9"), "an argument: not UTF-8 (character 1 of it); rename the file or folder"),
        ((b"report", b"\xe9"), "an argument: not UTF-8 (character 1 of it); rename the file or folder"),
        ((b"train", b"data.forget.path=caf\xe9.jsonl"),
         "data.forget.path: not UTF-8 (character 21 of it); rename the file or folder"),
    ],
)  # fmt: skip
def test_bytes_that_are_no_text_are_refused(args: tuple[bytes, ...], line: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "unlearnctl", *args]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {line}\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.full
def test_several_runs_make_a_sweep(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        shutil.copytree(trained, name)
    succeed("eval", "-m", "a", "b", "eval.smoke.limit=1", "run=s", "device=cpu")
    runs = [
        yaml.safe_load(file.read_text())["run_dir"]
        for file in Path("outputs/eval/sweep/s").glob("*/config.yaml")
    ]
    assert sorted(runs) == ["a", "b"]


@pytest.mark.full
def test_a_typed_name_and_seed_hold_beside_a_run(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, "r")
    done = succeed("eval", "r", "name=mine", "seed=5", "run=e", "device=cpu")
    assert done.run_dir == "outputs/eval/mine/e"
    other = run("eval", "r", "model=llama3_8b")
    assert (other.code, "model=llama3_8b" in other.err) == (2, True)
