"""What a search came to, in a sentence, a recipe and a page."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf
from optuna.trial import FrozenTrial, TrialState, create_trial

from unlearnctl.tuning.found import conclude, minutes_of
from unlearnctl.tuning.settings import Tuning
from unlearnctl.utils.errors import UserError

CFG = OmegaConf.create(
    {
        "objective": {"name": "rmu"}, "model": {"name": "m"}, "data": {"name": "d"},
        "trainer": {"steps": 20, "global_batch": 4},
    }
)  # fmt: skip
LOOK = {
    "blocks": [{"block": 0, "median": 1.0, "sinks": 0.0, "first": 0.0, "apart": 0.9}],
    "texts": {"forget": 64, "retain": 64}, "rms": {"mlp": 0.1}, "trained": 0.1, "seconds": 6.0,
}  # fmt: skip


def trial(number: int, forgotten: float, kept: float, own: bool = False) -> FrozenTrial:
    attrs: dict[str, Any] = {"values": {"objective.alpha": number + 0.5, "trainer.relative_lr": 0.01}}
    attrs |= {"point": [forgotten, kept], **({"own": True} if own else {})}
    made = create_trial(value=forgotten * kept, user_attrs=attrs)
    made.number = number
    return made


def tuning(least: float = 0.3) -> Tuning:
    return Tuning(minutes=20, trials=40, together=4, looks=4, look_items=48, least=least)


def test_the_best_trial_becomes_the_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = create_trial(state=TrialState.FAIL)
    failed.number = 2
    trials = [trial(0, 0.4, 0.9, own=True), trial(1, 0.8, 0.95), failed]
    trials[1].set_user_attr("noise", 0.1)
    conclude(CFG, tuning(), tmp_path, trials, LOOK, "all 3 trials are done (tune.trials)")
    recipe = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    assert recipe == {
        "trainer": {"steps": 20, "global_batch": 4, "relative_lr": 0.01, "optimizer": {"lr": None}},
        "objective": {"alpha": 1.5},
    }
    page, out = (tmp_path / "search.html").read_text(), capsys.readouterr().out
    said = "rial 1 of 3 forgets 0.80 of what could be forgotten and keeps 0.95, on validation items (score 0.76 ± 0.10)"
    assert said in page
    assert said in out
    assert "own settings scored 0.36" in out
    assert "train with it: unlearnctl train" in out
    assert "3 trials, 1 failed" in page
    assert page.index(">0.76<") < page.index(">0.36<")  # the best comes first


def test_a_config_that_nothing_beats_is_said_to_be_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    conclude(CFG, tuning(), tmp_path, [trial(0, 0.8, 0.9, own=True), trial(1, 0.4, 0.9)], LOOK, "x")
    assert "these are the config's own settings, which nothing beat" in capsys.readouterr().out


def test_what_does_not_count_leaves_a_page_and_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"not found within the budget: the best score is 0.36 after 1 trials"
    ):
        conclude(CFG, tuning(0.5), tmp_path, [trial(0, 0.4, 0.9)], LOOK, "x")
    assert "Not found within the budget: the best score is 0.36" in (tmp_path / "search.html").read_text()
    assert not (tmp_path / "recipe.yaml").exists()
    with pytest.raises(UserError, match="no trial was completed"):
        conclude(CFG, tuning(0.5), tmp_path, [create_trial(state=TrialState.FAIL)], LOOK, "x")


def test_what_ran_side_by_side_counts_once() -> None:
    noon = datetime(2026, 11, 26, 12)
    trials = [create_trial(value=0.0) for _ in range(3)]
    for each, (start, end) in zip(trials, [(0, 4), (1, 6), (10, 11)], strict=True):
        each.datetime_start, each.datetime_complete = (
            noon + timedelta(minutes=start),
            noon + timedelta(minutes=end),
        )
    assert minutes_of(trials) == 7
