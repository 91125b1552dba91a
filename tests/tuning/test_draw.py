"""The config's own settings come first, and a group draws once what decides which blocks train."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from unlearnctl.tuning.draw import draw, own_settings, shared, with_one_rate
from unlearnctl.tuning.space import Setting
from unlearnctl.tuning.study import open_study

SPACE = [
    Setting("objective.layer", 3, 18, whole=True),
    Setting("objective.alpha", 1.0, 100.0, log=True),
    Setting("objective.target", choices=["away", "random"]),
    Setting("trainer.relative_lr", 0.0005, 0.05, log=True),
]


def config(lr: float | None = None, **objective: Any) -> Any:
    return OmegaConf.create(
        {"objective": objective, "trainer": {"optimizer": {"lr": lr}, "relative_lr": None}}
    )


def test_a_recipe_is_taken_as_it_is_and_told_by_the_nearest_values() -> None:
    own = own_settings(config(1e-3, layer=0.23, alpha=500, target="away"), SPACE, 30, 0.1)
    assert own.values == {
        "objective.layer": 7, "objective.alpha": 500, "objective.target": "away", "trainer.optimizer.lr": 1e-3,
    }  # fmt: skip
    assert own.held == {
        "objective.layer": 7, "objective.alpha": 100, "objective.target": "away", "trainer.relative_lr": 0.05,
    }  # fmt: skip


def test_defaults_have_a_relative_rate_and_what_has_no_place_is_left_to_the_sampler() -> None:
    own = own_settings(config(layer=[3, 5], target="orthogonal"), SPACE, 30, 0.005)
    assert own.values == {
        "objective.layer": [3, 5], "objective.target": "orthogonal", "trainer.relative_lr": 0.005,
    }  # fmt: skip
    assert own.held == {"trainer.relative_lr": 0.005}


def test_how_long_and_how_much_is_trained_is_as_in_the_other_trials() -> None:
    space = [*SPACE, Setting("trainer.steps", choices=[40]), Setting("trainer.train_from", choices=[20])]
    made = config(layer=7)
    made.trainer.steps = 150
    own = own_settings(made, space, 30, 0.005)
    assert own.values["trainer.steps"] == own.held["trainer.steps"] == 40
    assert own.values["trainer.train_from"] == own.held["trainer.train_from"] == 20


def test_only_a_relative_rate_switches_an_absolute_one_off() -> None:
    assert with_one_rate({"trainer.relative_lr": 0.01})["trainer.optimizer.lr"] is None
    assert with_one_rate({"trainer.optimizer.lr": 1e-3}) == {"trainer.optimizer.lr": 1e-3}


def groups_of(root: Path, space: Sequence[Setting], count: int) -> list[list[dict[str, Any]]]:
    """Groups of four that are told scores, as a search draws them."""
    study = open_study(root, 0)
    made = []
    for _ in range(count):
        held: dict[str, Any] = {}
        group = []
        for _ in range(4):
            trial, values = draw(study, space, held)
            held = shared(space, values)
            group.append((trial, values))
        for trial, values in group:
            study.tell(trial, values["objective.alpha"] / 100)
        made.append([values for _, values in group])
    return made


def test_a_group_has_one_layer_and_different_settings(tmp_path: Path) -> None:
    found = groups_of(tmp_path, SPACE, 5)  # more than the eight trials that are drawn at random
    layers = [{values["objective.layer"] for values in group} for group in found]
    assert all(len(each) == 1 for each in layers)
    assert len(set.union(*layers)) > 1
    assert all(len({values["objective.alpha"] for values in group}) == 4 for group in found)
    assert all(3 <= layer <= 18 for each in layers for layer in each)


def test_held_values_are_what_the_sampler_learns_from(tmp_path: Path) -> None:
    study = open_study(tmp_path, 0)
    held = {"objective.layer": 7, "objective.alpha": 31.0}
    trial, values = draw(study, SPACE, held)
    assert {key: trial.params[key] for key in held} == held
    assert values["objective.layer"] == 7
    assert values["objective.alpha"] == pytest.approx(31)
    free, _ = draw(study, SPACE, {})
    assert free.params["objective.alpha"] != 31
