"""A run is a frozen setup, a session and a frozen outcome; its training checkpoints keep their keys."""

from __future__ import annotations

from dataclasses import asdict, fields, is_dataclass

import pytest

from tests.training.synthetic import make_trainer
from unlearnctl.objectives.rmu import RMU
from unlearnctl.training.evaluator import Evaluator
from unlearnctl.training.settings import Monitor
from unlearnctl.unlearning.outcome import History, Outcome
from unlearnctl.unlearning.parts import Training
from unlearnctl.unlearning.prepare import Prepared
from unlearnctl.unlearning.setup import Setup


@pytest.mark.parametrize("kind", [Setup, Prepared, Outcome, History, Training])
def test_what_describes_a_run_is_small_and_frozen(kind: type) -> None:
    assert is_dataclass(kind)
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert len(fields(kind)) <= 12


def test_checkpoints_have_the_keys_of_earlier_versions() -> None:
    """Renaming one would make every run that was cut before the change start from step 0."""
    evaluator = Evaluator(Monitor(), evaluate=dict, snapshot=dict, report=lambda step, scores: None)
    training = Training(make_trainer(RMU(4, 4.0, 10.0)), evaluator, None)
    assert set(training.state()) == {"trainer", "watcher", "meta"}
    assert set(asdict(History())) == {"started", "command", "resumed_after", "changed"}


def test_history_grows_with_each_resumption() -> None:
    first = History(started="then", command="unlearnctl train")
    once = History.resumed(asdict(first), 3, {})
    twice = History.resumed(asdict(once), 5, {"trainer.optimizer.lr": [1e-3, 1e-4]})
    assert (twice.started, twice.command) == ("then", "unlearnctl train")
    assert twice.resumed_after == [3, 5]
    assert twice.changed == [{"after_step": 5, "trainer.optimizer.lr": [1e-3, 1e-4]}]
