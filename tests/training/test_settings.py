"""Trainer settings are checked by key; in-training evaluation by hand."""

from __future__ import annotations

import pytest
import torch

from tests.results.test_trade_off import scores
from unlearnctl.training.evaluator import Evaluator
from unlearnctl.training.settings import Monitor, TrainerSettings
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.validate import read

GOOD = {"steps": 3, "global_batch": 4, "optimizer": {"lr": 1e-3}}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"stps": 3}, r"trainer\.stps: unknown key \(did you mean 'steps'\?\)"),
        ({"monitor": {"evry": 3}}, r"trainer\.monitor\.evry: unknown key"),
        ({"monitor": {"every": -1}}, r"trainer\.monitor\.every=-1"),
        ({"monitor": {"every": 5, "keep": "first"}}, r"trainer\.monitor\.keep=first: unknown"),
        ({"checkpoint": {"evry": 3}}, r"trainer\.checkpoint\.evry: unknown key"),
        (
            {"checkpoint": {"every": -1.0}},
            r"trainer\.checkpoint\.every=-1\.0: must be a number of seconds, 0 or more",
        ),
        ({"checkpoint": {"keep": 0}}, r"trainer\.checkpoint\.keep=0"),
        ({"global_batch": 0}, r"trainer\.global_batch=0"),
        ({"micro_batch": True}, r"trainer\.micro_batch=true"),
        ({"mixed_precision": "fp8"}, r"trainer\.mixed_precision=fp8"),
        ({"trunk": "yes"}, r"trainer\.trunk=yes"),
        ({"trainable": "mlp"}, r"trainer\.trainable=mlp: must be a list"),
    ],
)
def test_wrong_settings(change: dict, line: str) -> None:
    with pytest.raises(UserError, match=line):
        read(TrainerSettings, "trainer", {**GOOD, **change})


def test_scores_of_the_untouched_model_may_be_known() -> None:
    def measure() -> dict:
        pytest.fail("measured")

    known = scores(1, 1, 2)
    seen: list[int] = []
    evaluator = Evaluator(
        Monitor(every=2),
        evaluate=measure,
        snapshot=dict,
        report=lambda step, scores: seen.append(step),
        untouched=lambda: known,
    )
    evaluator.start()
    assert evaluator.before == evaluator.now == known
    assert seen == [0]


def test_evaluator_keeps_the_best_and_stops_on_damage() -> None:
    found = iter([scores(1, 1, 2), scores(0.6, 1, 2), scores(0.3, 0.9, 2), scores(0.25, 0.5, 2)])
    seen: list[int] = []
    weights = iter([{"w": torch.tensor(float(i))} for i in range(9)])
    evaluator = Evaluator(
        Monitor(every=2, keep="best", max_retain_damage=0.2),
        evaluate=lambda: next(found),
        snapshot=lambda: next(weights),
        report=lambda step, scores: seen.append(step),
    )
    evaluator.start()
    assert evaluator.after_step(1, last=False) is None
    assert evaluator.after_step(2, last=False) is None
    assert evaluator.after_step(4, last=False) is None
    assert evaluator.best_step == 4
    reason = evaluator.after_step(5, last=True)
    assert reason is not None
    assert "max_retain_damage=0.2" in reason
    assert seen == [0, 2, 4, 5]
    assert evaluator.best_tensors == {"w": torch.tensor(1.0)}
