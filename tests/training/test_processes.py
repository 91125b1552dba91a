"""Two and four processes, with whole or sliced models, give what one gives."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

from tests.training.two_ranks import Trajectory, look, trajectory

WAYS = ((2, "none"), (4, "none"), (2, "fsdp"))


@cache
def one_process(name: str) -> Trajectory:
    return look() if name == "look" else trajectory(name)


@pytest.mark.full
def test_the_number_of_processes_changes_only_the_time(tmp_path: Path) -> None:
    """After ten AdamW steps at a rate of 1e-3; the losses along the way to 2e-5. One process imports for all ranks."""
    files = {tmp_path / f"{world}-{sharding}.pt": (str(world), sharding) for world, sharding in WAYS}
    command = [sys.executable, "-W", "ignore", "-m", "tests.training.two_ranks"]
    for file, way in files.items():
        command += [str(file), *way]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    for file, way in files.items():
        for name, several in torch.load(file, weights_only=True).items():
            assert_same(several, one_process(name), (way, name))


def assert_same(several: Trajectory, alone: Trajectory, name: tuple[tuple[str, str], str]) -> None:
    (losses, weights), (expected, others) = several, alone
    assert losses == pytest.approx(expected, rel=2e-5), name
    for key, value in others.items():
        apart = (value - weights[key]).abs()
        # Adam divides by |g|: a gradient near zero turns rounding into a visible, but harmless, step
        assert apart.mean() < 1e-7, (name, key)
        assert apart.max() <= (1e-6 if name[1].startswith("rmu") else 1e-4), (name, key)
