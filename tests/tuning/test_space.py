"""A space of settings is checked before anything runs, and draws only what it allows."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from hydra import compose, initialize_config_dir

from unlearnctl.config.instantiate import plain
from unlearnctl.tuning.space import Setting, read_space
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.numbers import flatten
from unlearnctl.utils.paths import conf_dir

ALPHA = {"key": "objective.alpha", "low": 1.0, "high": 100.0, "log": True}


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ([], "tune.space: nothing to try; give settings as tune.space=[{key: ..., low: ..., high: ...}]"),
        ([{"key": "objective.alpha"}], "tune.space[0]: objective.alpha needs low and high, or choices"),
        (
            [{**ALPHA, "high": 1.0}],
            "tune.space[0]: objective.alpha: low=1.0 must be above 0 and below high=1.0",
        ),
        ([{**ALPHA, "log": False, "low": 200.0}], "low=200.0 must be below high=100.0"),
        ([{**ALPHA, "low": 0.0}], "low=0.0 must be above 0 and below high=100.0"),
        ([{**ALPHA, "choices": [1, 2]}], "needs either low and high, or choices that are not empty"),
        ([{"key": "objective.alpha", "choices": []}], "choices that are not empty"),
        ([ALPHA, ALPHA], "tune.space: objective.alpha stands in it twice"),
        ([{**ALPHA, "hihg": 3}], "tune.space[0].hihg"),
    ],
)
def test_what_cannot_be_tried_is_one_line(given: list[dict[str, Any]], line: str) -> None:
    with pytest.raises(UserError) as found:
        read_space("tune.space", given)
    assert line in str(found.value)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("objective", sorted(file.stem for file in (conf_dir() / "search").glob("*.yaml")))
def test_every_shipped_space_names_keys_that_are_there(objective: str) -> None:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("tune", [f"objective={objective}", "model=smollm2_135m"])
    there = flatten(plain(cfg))
    for setting in read_space("tune.space", plain(cfg.tune)["space"]):
        assert setting.key in there


def test_what_decides_which_blocks_train_is_shared_and_in_blocks() -> None:
    setting = Setting("trainer.train_from", choices=[0.67])
    assert setting.places_blocks
    assert setting.in_blocks(30).choices == [20]


def test_draws_are_within_the_range_and_of_the_type() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    settings = [
        Setting("a", 1.0, 100.0, log=True),
        Setting("b", 2, 5, whole=True),
        Setting("c", choices=["x", True]),
    ]
    drawn = [[setting.draw(study.ask()) for _ in range(60)] for setting in settings]
    assert all(1 <= value <= 100 for value in drawn[0])
    assert 20 < sum(value < 10 for value in drawn[0]) < 40  # evenly by ratio: half of them below the middle
    assert set(drawn[1]) == {2, 3, 4, 5}
    assert set(drawn[2]) == {"x", True}
    assert all(float(f"{value:.3g}") == value for value in drawn[0])


def test_shares_of_the_depth_become_blocks_before_anything_is_drawn() -> None:
    layer = Setting("objective.layer", 0.1, 0.6).in_blocks(30)
    assert (layer.low, layer.high, layer.whole) == (3, 18, True)
    assert Setting("objective.layer", 0.23, 0.24).in_blocks(30).choices == [7]
    assert Setting("objective.layer", choices=[0.23, 0.24, 0.5]).in_blocks(30).choices == [7, 15]
    assert Setting("objective.layer", 2, 5, whole=True).in_blocks(30).low == 2
    rate = Setting("trainer.relative_lr", 0.1, 0.6)
    assert rate.in_blocks(30) is rate
    assert [layer.places_blocks, rate.places_blocks] == [True, False]


def test_the_nearest_value_of_a_space() -> None:
    layer, alpha = Setting("objective.layer", 3, 18, whole=True), Setting(**ALPHA)
    assert [layer.nearest(value) for value in (7, 25, 0, [3, 5], None)] == [7, 18, 3, None, None]
    assert [alpha.nearest(value) for value in (40, 1000.0, 0)] == [40, 100, None]
    target = Setting("objective.target", choices=["away", True])
    assert [target.nearest(value) for value in ("away", "random", True)] == ["away", None, True]
