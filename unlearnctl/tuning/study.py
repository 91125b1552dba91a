"""Keep a search over settings on disk, and decide when it has gone on for long enough."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
from optuna.pruners import SuccessiveHalvingPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from unlearnctl.tuning.settings import Tuning

PATIENCE = 3  # groups of trials without a better score, after which a search ends
HALVES = 2  # at each look, the worse half of the trials that got so far is stopped


def open_study(root: Path, seed: int) -> optuna.Study:
    """Open the search that is kept in a directory, or begin one; trials that were cut off count as failed."""
    logging.getLogger("optuna").setLevel(logging.ERROR)
    study = optuna.create_study(
        study_name="tune",
        storage=JournalStorage(JournalFileBackend(str(root / "study.log"))),
        # Several trials are drawn before the first of them has ended: without the liar they would be alike.
        sampler=TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=8),
        pruner=SuccessiveHalvingPruner(min_resource=1, reduction_factor=HALVES),
        direction="maximize",
        load_if_exists=True,
    )
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    return study


def search(
    study: optuna.Study,
    tuning: Tuning,
    carry_out: Callable[[int], None],
    minutes: Callable[[], float],
    noise: Callable[[FrozenTrial], float],
) -> str:
    """Carry out groups of trials until one of three reasons ends the search; returns the reason.

    As long as nothing scores `tuning.least`, only the budget and the number of trials end it. A group is begun if what
    is left of the budget is at least half of what the last one took, so that searches end near their budget.

    Args:
        study: what was tried so far.
        tuning: budget, number of trials, size of a group.
        carry_out: trains that many trials and tells the study.
        minutes: since this call began.
        noise: of a trial's score, half of its 95 % interval.
    """
    stale, best, took = 0, -1.0, 0.0
    while True:
        left = tuning.trials - len(study.get_trials(deepcopy=False))
        if left <= 0:
            return f"all {tuning.trials} trials are done (tune.trials)"
        begun = minutes()
        if begun + took / 2 >= tuning.minutes:
            return f"the budget of {tuning.minutes:g} minutes does not last for another group (tune.minutes)"
        if stale >= PATIENCE:
            return f"{PATIENCE} groups of trials in a row were no better than the noise"
        carry_out(min(tuning.together, left))
        took = minutes() - begun
        now = best_of(study.get_trials(deepcopy=False))
        if now is None:
            continue
        assert now.value is not None
        better = now.value > best + (noise(now) if best >= 0 else 0)
        stale, best = (0, now.value) if better else (stale + 1, best)
        if best < tuning.least:
            stale = 0


def best_of(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """Return the completed trial with the best score; None before the first."""
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return max(done, key=lambda trial: trial.value or 0.0, default=None)


def has_own(study: optuna.Study) -> bool:
    """Tell whether the config's own settings have been tried to the end; a trial that was cut off is tried again."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    return any("own" in trial.user_attrs for trial in done)
