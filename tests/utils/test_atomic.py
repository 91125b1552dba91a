"""Files that we write: whole or not at all, with the umask's mode, and never through a link."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from unlearnctl.runs.lock import locked
from unlearnctl.utils.atomic import open_ours, replacing, write_atomically
from unlearnctl.utils.explain import explain

ROOT = Path(__file__).parents[2]
# What may open a file for writing by itself, and why nothing is there to be followed.
OTHERS = {
    "utils/atomic.py": "the module through which all others write",
    "distributed/heartbeat.py": "a scratch folder of our own (mkdtemp)",
    "distributed/failures.py": "the same",
    "distributed/worker.py": "the same",
    "distributed/supervise.py": "the same",
    "distributed/start.py": "the same",
    "distributed/world.py": "/dev/null",
    "training/checkpoint.py": "a folder that was just made",
    "models/partial/prefix_cache.py": "a folder that was just made",
    "models/export.py": "a folder that was just made",
    "models/gguf.py": "a folder that was just made",
    "models/delta.py": "a folder that was just made, and `replacing`",
    "probes/fit.py": "`replacing`",
    "tracking/jsonl.py": "`replacing`",
    "tuning/trial_runs.py": "a log that only grows, in the folder of a search",
    "reporting/recovered_files.py": "`replacing`",
    "reporting/strength_curve.py": "`replacing`",
    "reporting/probe_curve.py": "`replacing`",
    "tinyworld/world_files.py": "a folder that was just made",
    "tinyworld/build.py": "a folder that was just made",
}


@pytest.fixture
def victim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that a link leads to, and that must be what it was afterwards."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "VICTIM"
    file.write_text("precious\n")
    yield file
    assert file.read_text() == "precious\n"
    assert not file.is_symlink()


def link(kind: str, victim: Path, place: Path) -> None:
    if kind == "symbolic":
        place.symlink_to(victim)
    else:
        place.hardlink_to(victim)


@pytest.mark.parametrize("kind", ["symbolic", "hard"])
def test_what_stands_in_the_place_of_a_file_is_replaced(kind: str, victim: Path) -> None:
    link(kind, victim, Path("results.json"))
    write_atomically(Path("results.json"), "new\n")
    assert Path("results.json").read_text() == "new\n"
    assert sorted(path.name for path in Path().iterdir()) == ["VICTIM", "results.json"]


@pytest.mark.parametrize(("kind", "why"), [("symbolic", "is a link"), ("hard", "has another name")])
@pytest.mark.parametrize("mode", ["a", "a+b", "x"])
def test_nothing_is_appended_through_a_link(kind: str, why: str, mode: str, victim: Path) -> None:
    link(kind, victim, Path("metrics.jsonl"))
    with pytest.raises(OSError, match=why if mode != "x" else "File exists") as caught:
        open_ours(Path("metrics.jsonl"), mode)
    assert caught.value.filename == "metrics.jsonl"


def test_nothing_waits_for_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p")
    with pytest.raises(OSError, match="is not a file"):
        open_ours(tmp_path / "p", "a+b", buffering=0)


@pytest.mark.parametrize("umask", [0o022, 0o007, 0o077])
def test_modes_follow_the_umask(umask: int, tmp_path: Path) -> None:
    held = os.umask(umask)
    try:
        write_atomically(tmp_path / "a", "x")
        open_ours(tmp_path / "b", "a").close()
        with replacing(tmp_path / "c") as temporary:
            save_file({"x": torch.zeros(2)}, temporary)
    finally:
        os.umask(held)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o666 & ~umask}


def test_no_name_of_a_temporary_file_comes_again(tmp_path: Path) -> None:
    names = set()
    for _ in range(3):
        with replacing(tmp_path / "a") as temporary:
            names.add(temporary.name)
            temporary.write_text("x")
    assert len(names) == 3


@pytest.mark.parametrize(("kind", "why"), [
    ("symbolic", "is a link, and nothing is written through links"),
    ("hard", "has another name (a hard link), so nothing is written to it"),
])  # fmt: skip
def test_a_lock_that_is_a_link_is_refused(kind: str, why: str, victim: Path) -> None:
    Path("d").mkdir()
    link(kind, victim, Path("d/run.lock"))
    with pytest.raises(OSError, match=r"d/run\.lock") as caught, locked(Path("d")):
        pass
    assert explain(caught.value) == f"d/run.lock: {why}"


def writes(node: ast.AST) -> bool:
    """Whether a call opens a file for writing by itself."""
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in ("write_text", "write_bytes", "NamedTemporaryFile", "mkstemp"):
        return True
    modes = [a.value for a in [*node.args, *(k.value for k in node.keywords)] if isinstance(a, ast.Constant)]
    return name == "open" and any(isinstance(m, str) and len(m) <= 3 and set(m) & set("wax+") for m in modes)


def test_no_other_module_opens_a_file_for_writing() -> None:
    found = {
        str(file.relative_to(ROOT / "unlearnctl"))
        for file in (ROOT / "unlearnctl").rglob("*.py")
        if any(writes(node) for node in ast.walk(ast.parse(file.read_text())))
    }
    assert found - set(OTHERS) == set()


SHADOWS = ("yaml", "random", "torch", "json", "sitecustomize", "hydra_plugins", "unlearnctl_plugin")


@pytest.mark.full
def test_nothing_is_imported_from_the_working_directory(tmp_path: Path) -> None:
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text("open('PWNED', 'w').close()\n")
    given = {**os.environ, "PYTHONPATH": str(ROOT), "UNLEARNCTL_CACHE": str(tmp_path / "cache")}
    quick = [
        "trainer.steps=1",
        "trainer.global_batch=4",
        "trainer.monitor.every=0",
        "eval=[smoke]",
        "objective=rmu",
    ]
    launch = ["launch=cpu", "launch.num_processes=2", "data.forget.limit=8", "data.retain.limit=8"]
    command = [sys.executable, "-m", "unlearnctl", "train", *quick, *launch, "run=r"]
    done = subprocess.run(
        command, cwd=tmp_path, env=given, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "PWNED").exists()
