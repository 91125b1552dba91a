"""The number of processes changes only the time of an evaluation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.scoring.on_ranks import Counting, measured


@cache
def one_process() -> tuple[dict[str, Any], int]:
    answers = Counting()
    return measured(answers), answers.asked


@pytest.mark.full
def test_ranks_share_the_work_and_agree(tmp_path: Path) -> None:
    """Each rank ends with all results: the same accuracies and replies, log-likelihoods to 1e-4."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.evaluation.scoring.on_ranks",
        str(tmp_path / "out"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run([*command, "2", "4"], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    for world in (2, 4):
        agree([json.loads((tmp_path / f"out.{world}.{rank}").read_text()) for rank in range(world)])


def agree(ranks: list[dict[str, Any]]) -> None:
    alone, questions = one_process()
    for found in ranks:
        assert found["likelihoods"] == pytest.approx(alone["likelihoods"], abs=1e-4)
        for name, items in alone["items"].items():
            assert found["items"][name] == pytest.approx(items, abs=1e-4), name
    shares = [found["asked"] for found in ranks]
    assert sum(shares) == questions
    assert max(shares) < 1.5 * questions / len(ranks)
