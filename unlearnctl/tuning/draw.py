"""Draw settings: first those that the config has, then groups of trials that train the same blocks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import optuna
from omegaconf import DictConfig
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import PartialFixedSampler

from unlearnctl.config import depth
from unlearnctl.config.instantiate import plain
from unlearnctl.tuning.keys import ABSOLUTE, COSTS, RATE
from unlearnctl.tuning.space import Setting
from unlearnctl.utils.numbers import flatten


def draw(
    study: optuna.Study, space: Sequence[Setting], held: Mapping[str, Any]
) -> tuple[optuna.Trial, dict[str, Any]]:
    """Begin a trial that has the values of `held`; the sampler draws the others. Returns it and all its values."""
    with _holding(study, held):
        trial = study.ask()
        # Inside, because values are drawn when they are first asked for.
        return trial, {setting.key: setting.draw(trial) for setting in space}


@contextmanager
def _holding(study: optuna.Study, held: Mapping[str, Any]) -> Iterator[None]:
    sampler = study.sampler
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.sampler = PartialFixedSampler(dict(held), sampler)
    try:
        yield
    finally:
        study.sampler = sampler


@dataclass(frozen=True)
class Own:
    """What the config itself has for the settings of a space: a recipe's numbers, or defaults."""

    values: Mapping[str, Any]  # as a run takes them
    held: Mapping[
        str, Any
    ]  # the nearest ones of the space, for the sampler to learn from; those unknown are left out


def own_settings(cfg: DictConfig, space: Sequence[Setting], blocks: int, rate: float) -> Own:
    """Find what the config has, as far as it has any; how long and how much to train is as in the other trials.

    Args:
        cfg: of the search.
        space: what is tried.
        blocks: of the model, in which layers are counted.
        rate: the relative learning rate that the config amounts to.
    """
    there = flatten({key: depth.at_depth(plain(cfg[key]), blocks) for key in ("objective", "trainer")})
    found = {setting.key: there.get(setting.key) for setting in space}
    # Other lengths or more blocks might take the whole budget for this one trial.
    found |= {
        setting.key: setting.choices[0] for setting in space if setting.key in COSTS and setting.choices
    }
    if RATE in found:
        found[RATE] = rate
    nearest = {setting.key: setting.nearest(found[setting.key]) for setting in space}
    if RATE in found and there.get(ABSOLUTE) is not None:
        found[ABSOLUTE] = there[ABSOLUTE]
        del found[RATE]
    values, held = (
        {key: value for key, value in some.items() if value is not None} for some in (found, nearest)
    )
    return Own(values, held)


def with_one_rate(values: Mapping[str, Any]) -> dict[str, Any]:
    """Switch off a recipe's absolute rate where a relative one is tried: a run takes one of them."""
    return {**({ABSOLUTE: None} if RATE in values else {}), **values}


def shared(space: Sequence[Setting], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those values that decide which blocks train: trials that agree in them share frozen blocks."""
    return {setting.key: values[setting.key] for setting in space if setting.places_blocks}
