"""A search ends for one of three reasons, says which, and is continued from its file."""

from __future__ import annotations

from pathlib import Path

import pytest
from optuna.trial import TrialState

from unlearnctl.tuning.settings import Tuning
from unlearnctl.tuning.study import best_of, has_own, open_study, search


def tuning(**changes: float) -> Tuning:
    return Tuning(
        **{"minutes": 20, "trials": 40, "together": 4, "looks": 4, "look_items": 48, "least": 0.3, **changes}
    )  # type: ignore[arg-type]


class Carried:
    """Trials whose scores are given."""

    def __init__(self, root: Path, scores: list[float]) -> None:
        self.study, self.scores, self.groups = open_study(root, 0), scores, []

    def __call__(self, count: int) -> None:
        self.groups.append(count)
        for _ in range(count):
            trial = self.study.ask()
            trial.suggest_float("x", 0, 1)
            self.study.tell(trial, self.scores.pop(0))


def test_the_number_of_trials_bounds_a_search_and_the_last_group_is_smaller(tmp_path: Path) -> None:
    trials = Carried(tmp_path, [i / 10 for i in range(10)])
    reason = search(trials.study, tuning(trials=10), trials, lambda: 0.0, lambda best: 0.0)
    assert reason == "all 10 trials are done (tune.trials)"
    assert trials.groups == [4, 4, 2]


@pytest.mark.parametrize(("begins", "groups"), [(15.0, 3), (17.0, 2)])
def test_the_budget_ends_a_search_between_groups(tmp_path: Path, begins: float, groups: int) -> None:
    """A third group of eight minutes may begin at 15 of 20 and not at 17, because it would end at 25."""
    trials = Carried(tmp_path, [i / 40 for i in range(40)])
    spent = iter([0.0, 7.0, begins - 8, begins, begins, begins + 8, begins + 8])
    reason = search(trials.study, tuning(), trials, lambda: next(spent), lambda best: 0.0)
    assert reason == "the budget of 20 minutes does not last for another group (tune.minutes)"
    assert len(trials.groups) == groups


@pytest.mark.parametrize(("noise", "groups"), [(0.05, 4), (0.0, 10)])
def test_a_search_ends_once_nothing_gets_better_than_the_noise(
    tmp_path: Path, noise: float, groups: int
) -> None:
    """Each group is better than the one before by 0.01: progress without noise, none with a noise of 0.05."""
    trials = Carried(tmp_path, [0.5 + 0.01 * (i // 4) for i in range(40)])
    reason = search(trials.study, tuning(), trials, lambda: 0.0, lambda best: noise)
    assert len(trials.groups) == groups
    assert ("no better than the noise" in reason) == (noise > 0)


def test_a_search_that_has_found_nothing_continues(tmp_path: Path) -> None:
    trials = Carried(tmp_path, [0.1] * 20 + [0.4] * 20)
    reason = search(trials.study, tuning(), trials, lambda: 0.0, lambda best: 0.05)
    assert len(trials.groups) == 5 + 1 + 3
    assert "no better than the noise" in reason


def test_small_gains_add_up_to_more_than_the_noise(tmp_path: Path) -> None:
    """0.04 a group with a noise of 0.05: every second group is better than the last one that was."""
    trials = Carried(tmp_path, [0.5 + 0.04 * (i // 4) for i in range(40)])
    search(trials.study, tuning(), trials, lambda: 0.0, lambda best: 0.05)
    assert len(trials.groups) == 10


def test_the_configs_own_settings_count_as_tried_once_they_have_ended(tmp_path: Path) -> None:
    study = open_study(tmp_path, 0)
    study.ask().set_user_attr("own", value=True)  # and the process was killed
    again = open_study(tmp_path, 0)
    assert not has_own(again)
    trial = again.ask()
    trial.set_user_attr("own", value=True)
    again.tell(trial, 0.1)
    assert has_own(again)


def test_a_search_is_continued_and_what_was_cut_off_counts_as_failed(tmp_path: Path) -> None:
    first = Carried(tmp_path, [0.2, 0.6])
    first(2)
    first.study.ask()  # and the process was killed
    again = open_study(tmp_path, 0)
    assert [trial.state for trial in again.trials] == [
        TrialState.COMPLETE,
        TrialState.COMPLETE,
        TrialState.FAIL,
    ]
    best = best_of(again.trials)
    assert best is not None
    assert (best.number, best.value) == (1, 0.6)
