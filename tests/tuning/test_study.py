"""A search ends for one of three reasons, says which, and is continued from its file."""

from __future__ import annotations

from pathlib import Path

import pytest
from optuna.trial import TrialState

from unlearnctl.results.run import Row, Run, Score
from unlearnctl.tuning.settings import Tuning
from unlearnctl.tuning.study import best_of, noise_of, open_study, search
from unlearnctl.tuning.trial_runs import check_base
from unlearnctl.utils.errors import UserError


def tuning(**changes: float) -> Tuning:
    return Tuning(**{"minutes": 20, "trials": 40, "together": 4, "looks": 4, "least": 0.3, **changes})  # type: ignore[arg-type]


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


def test_the_budget_ends_a_search_between_groups(tmp_path: Path) -> None:
    trials = Carried(tmp_path, [i / 40 for i in range(40)])
    spent = iter([0.0, 6.0, 12.0, 25.0])
    reason = search(trials.study, tuning(), trials, lambda: next(spent), lambda best: 0.0)
    assert reason == "the budget of 20 minutes is spent (tune.minutes)"
    assert trials.groups == [4, 4, 4]


@pytest.mark.parametrize(("noise", "groups"), [(0.05, 4), (0.0, 10)])
def test_a_search_ends_once_nothing_gets_better_than_the_noise(
    tmp_path: Path, noise: float, groups: int
) -> None:
    """Each group is better than the one before by 0.01: progress without noise, none with a noise of 0.05."""
    trials = Carried(tmp_path, [0.5 + 0.01 * (i // 4) for i in range(40)])
    reason = search(trials.study, tuning(), trials, lambda: 0.0, lambda best: noise)
    assert len(trials.groups) == groups
    assert ("no better than the noise" in reason) == (noise > 0)


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
    best = best_of(again)
    assert best is not None
    assert (best.number, best.value) == (1, 0.6)


def row(before: float, after: float, half: float, chance: float | None = 0.25) -> Row:
    ends = (after - half, after + half)
    score = Score(before, chance=chance, interval=(before - half, before + half))
    return Row("mc", "accuracy", "forget", "lower", score, Score(after, chance=chance, interval=ends))


def test_noise_is_the_interval_over_the_way_to_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "rows", [row(0.75, 0.4, 0.05), row(0.5, 0.3, 0.05)])
    assert noise_of(Run(Path(), {})) == pytest.approx((0.1 + 0.2) / 2)


def test_a_model_that_guesses_has_nothing_to_forget() -> None:
    check_base([row(0.45, 0.3, 0.05)])
    check_base([row(0.27, 0.3, 0.05), row(0.45, 0.3, 0.05)])
    check_base([row(0.27, 0.3, 0.05, chance=None)])
    with pytest.raises(UserError, match=r"nothing to forget here: .* mc accuracy 0.27 \(chance 0.25\)"):
        check_base([row(0.27, 0.3, 0.05)])
