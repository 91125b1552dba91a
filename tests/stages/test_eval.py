"""`unlearnctl eval` on its own: what it writes, and what it refuses; a run's result is in test_train.py."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from tests.command import run, succeed
from unlearnctl.evaluation.record import validate_results


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_eval_leaves_a_run_directory_of_its_own() -> None:
    folder = Path(succeed("eval", "eval=[smoke]", "device=cpu", "run=e").run_dir)
    assert folder == Path("outputs/eval/tinyworld/e")
    assert {"config.yaml", "results.json", "report.html"} <= {p.name for p in folder.iterdir()}
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
