"""`unlearnctl eval` on its own: what it writes, and what it refuses; a run's result is in test_train.py."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest

from tests.command import run, succeed
from unlearnctl.results.schema import validate_results


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_eval_leaves_a_run_directory_of_its_own() -> None:
    folder = Path(succeed("eval", "eval=[smoke]", "device=cpu", "run=e").run_dir)
    assert folder == Path("outputs/eval/tinyworld/e")
    assert {"config.yaml", "results.json", "items.json", "report.html"} <= {p.name for p in folder.iterdir()}
    record = json.loads((folder / "results.json").read_text())
    validate_results(record)
    assert record["after"]["smoke"]
    assert "before" not in record
    again = run("eval", "eval=[smoke]", "device=cpu", "run=e")
    assert again.code == 2
    assert again.err == "error: run=e: outputs/eval/tinyworld/e exists already; choose another run=NAME\n"


def test_no_disk_space(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
    done = run("eval", "eval=[smoke]", "device=cpu", "run=e")
    assert done.code == 2
    assert "output_dir=outputs/eval/tinyworld/e: not enough disk space" in done.err
    assert not Path("outputs").exists()


@pytest.mark.full
def test_an_evaluation_that_is_killed_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL after the third line of answers; the second run asks only for the rest and gives the same scores."""
    monkeypatch.setenv("UNLEARNCTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    command = ["eval", "eval=[tinyworld]", "eval.tinyworld.parts=[mcq]"]
    command += ["eval.tinyworld.limit=40", "eval.tinyworld.batch_tokens=64", "device=cpu"]
    first = subprocess.Popen(
        [sys.executable, "-m", "unlearnctl", *command, "run=a"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and first.poll() is None:
        lines = [
            n for f in (tmp_path / "cache").glob("answers/*/0.jsonl") for n in f.read_text().splitlines()
        ]
        if len(lines) > 3:
            break
        time.sleep(0.01)
    first.kill()
    assert first.wait() == -signal.SIGKILL
    assert "of an interrupted one" in succeed(*command, "run=b").out
    assert "of an interrupted one" not in succeed(*command, "run=c").out
    made = [json.loads(Path(f"outputs/eval/tinyworld/{run}/items.json").read_text()) for run in "bc"]
    assert made[0] == made[1]
