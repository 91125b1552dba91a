"""The benchmarks run, compare what they time, and say what they cannot measure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent


def bench(name: str, results: Path, preset: str = "tiny") -> str:
    command = [sys.executable, str(ROOT / "benchmarks" / name), "--preset", preset, "--results", str(results)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_a_step_is_timed_beside_the_plain_one_and_leaves_its_weights(tmp_path: Path) -> None:
    out = bench("step.py", tmp_path / "r.md")
    assert "weights after 5 steps apart by 0.0e+00 |" in out
    assert "apart by 0.0e+00 |" in out.split("prefix cached")[1]
    assert "### RMU step, preset tiny" in (tmp_path / "r.md").read_text()


def test_the_floor_is_computed_and_says_so(tmp_path: Path) -> None:
    out = bench("floor.py", tmp_path / "r.md", "8b")
    assert "computed, not measured" in out
    assert "| plain | 122 | 154 | 1.0 |" in out  # as counted by hand in the design
    assert "| ours, prefix cached | 9.14 |" in out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_large_preset_says_what_it_lacks(tmp_path: Path) -> None:
    assert "needs a CUDA GPU" in bench("step.py", tmp_path / "r.md", "8b")
    assert not (tmp_path / "r.md").exists()
