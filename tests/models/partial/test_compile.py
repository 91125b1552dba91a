"""Compiled blocks give the plain ones' losses."""

from __future__ import annotations

import shutil

import pytest

from tests.training.synthetic import make_trainer
from unlearnctl.models.load import compile_blocks
from unlearnctl.objectives.rmu import RMU


@pytest.mark.full
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns about itself
def test_ten_steps_agree() -> None:
    losses: list[list[float]] = []
    for compiled in (False, True):
        trainer = make_trainer(RMU(4, 4.0, 10.0))
        if compiled:
            compile_blocks(trainer.tapped)
        seen: list[float] = []
        trainer.on_step = lambda row, seen=seen: seen.append(row["loss"])
        trainer.fit()
        losses.append(seen)
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
