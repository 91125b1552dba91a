"""Carry out trials: each is an ordinary training run, scored on validation items, several side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from omegaconf import DictConfig, OmegaConf, open_dict
from optuna.trial import TrialState

from unlearnctl.results.run import load_run
from unlearnctl.results.schema import read_ending
from unlearnctl.results.trade_off import Trade, rows_of, trade
from unlearnctl.sweeps.together import groups, run_together
from unlearnctl.tuning.draw import Own, draw, shared, with_one_rate
from unlearnctl.tuning.score import RUNS, NothingToForget, check_base, noise_of, search_score
from unlearnctl.tuning.settings import Tuning
from unlearnctl.tuning.space import Setting
from unlearnctl.unlearning.session import Session
from unlearnctl.unlearning.setup import Setup, make_setup
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.explain import explain
from unlearnctl.utils.stopping import exception_from

OWN = ("tune", "select")  # keys of `tune` that a training run does not have


def trial_config(
    cfg: DictConfig, tuning: Tuning, values: Mapping[str, Any], root: Path, run: str
) -> DictConfig:
    """Return the training config of one trial: the command's own, with these values, on validation items."""
    made = cfg.copy()
    with open_dict(made):
        for key in OWN:
            del made[key]
        made.output_dir, made.name, made.run = str(root), RUNS, run
        for suite, changes in (cfg.select or {}).items():
            silent = (
                {"replies": 0} if "replies" in made.eval[suite] else {}
            )  # nobody reads forty trials' replies
            made.eval[suite] = OmegaConf.merge(made.eval[suite], silent, changes)
        made.trainer.monitor.overrides = fewer(made.eval, tuning.look_items)
        for key, value in with_one_rate(values).items():
            OmegaConf.update(made, key, value, merge=False)
        made.trainer.monitor.every = -(-made.trainer.steps // tuning.looks)
    return made


def fewer(suites: Mapping[str, Any], items: int | None) -> dict[str, dict[str, int]]:
    """Return what makes suites ask at most so many items, for a look at a trial that goes on or is stopped."""
    return {
        name: {"limit": items}
        for name, suite in suites.items()
        if items is not None and "limit" in suite and (suite.limit is None or suite.limit > items)
    }


@dataclass
class Trials:
    """Draws settings, trains them, and tells the study what came of it."""

    cfg: DictConfig
    tuning: Tuning
    space: list[Setting]
    study: optuna.Study
    root: Path
    say: Callable[[str], None]
    own: Own | None = None  # what the config has, which is the first trial; None once it has been tried
    running: dict[Path, optuna.Trial] = field(default_factory=dict)
    stopped: dict[int, Trade] = field(default_factory=dict)  # where the last look at such a trial found it

    def __call__(self, count: int) -> None:
        """Carry out `count` trials that train the same blocks: the first one decides which.

        Raises:
            UserError: none of them could even begin, so that the fault is not in the values.
        """
        setups, refused = [], []
        own, self.own = self.own, None
        held = own.held if own else {}
        for _ in range(count):
            trial, values = draw(self.study, self.space, held)
            held = shared(self.space, values)
            if own:
                values, own = dict(own.values), None
                trial.set_user_attr("own", value=True)
            try:
                setups.append(self._set_up(trial, values))
            except UserError as error:
                refused.append(error)
                self.study.tell(trial, state=TrialState.FAIL)
                self.say(f"trial {trial.number}: {error}")
        if not setups:
            raise refused[0]
        # The config's own settings may train more of the model than the others. Alone, they run last, so that a look
        # has something to compare them with.
        for group in sorted(groups(setups, self.tuning.together), key=len, reverse=True):
            self._train(group)

    def _set_up(self, trial: optuna.Trial, values: dict[str, Any]) -> Setup:
        trial.set_user_attr("values", values)
        cfg = trial_config(self.cfg, self.tuning, values, self.root, f"{trial.number:03d}")
        with self._log():
            setup = make_setup(cfg)
        self.running[setup.directory] = trial
        return setup

    def _log(self) -> redirect_stdout[Any]:
        """Send what a run prints to a file: forty tables are not what the reader waits for."""
        return redirect_stdout((self.root / "trials.log").open("a", encoding="utf-8"))

    def _train(self, group: list[Setup]) -> None:
        names = ", ".join(str(self.running[setup.directory].number) for setup in group)
        together = " side by side" if len(group) > 1 else ""
        self.say(f"trial{'s' if len(group) > 1 else ''} {names}: training{together}")
        try:
            with self._log():
                run_together(group, self._ended, self._begun, self._worth_scores)
        except NothingToForget:
            raise
        except Exception as error:  # one of them stopped the group
            for setup in group:
                if setup.directory in self.running:
                    self._ended(setup, error)

    def _worth_scores(self, setup: Setup) -> bool:
        """Leave a stopped trial with the scores of its last look: all items would cost more than its training."""
        return self.running[setup.directory].number not in self.stopped

    def _begun(self, session: Session) -> None:
        """Have a trial stopped where others at the same point were clearly better."""
        settings, trial = session.setup.prepared.settings, self.running[session.setup.directory]
        evaluator = session.evaluator
        check_base(rows_of(session.before, session.before))

        def judge(step: int, forgotten: float, kept: float) -> str | None:
            if step == settings.steps:  # nothing is left to stop
                return None
            score = search_score(Trade(forgotten, kept), rows_of(evaluator.before, evaluator.now))
            # The pruner halves the field at the first look, the second, the fourth, ..., so it counts looks.
            trial.report(score, step // settings.monitor.every)
            self.say(
                f"trial {trial.number}: step {step} of {settings.steps}, forgotten {forgotten:.2f}, kept {kept:.2f}"
            )
            if not trial.should_prune():
                return None
            self.stopped[trial.number] = Trade(forgotten, kept)
            return f"other trials were better at step {step}"

        evaluator.listener = judge

    def _ended(self, setup: Setup, error: BaseException | None) -> None:
        trial = self.running.pop(setup.directory)
        status, reason = (None, None) if error else read_ending(setup.directory)
        if status == "interrupted":  # the whole search was meant
            self.study.tell(trial, state=TrialState.FAIL)
            raise exception_from(reason)
        stopped = self.stopped.get(trial.number)
        rows = [] if error or stopped else load_run(setup.directory, history=False).rows
        point = stopped or trade(rows)
        if point is None or error:
            self.study.tell(trial, state=TrialState.FAIL)
            why = explain(error) if isinstance(error, Exception) else "no score on both sides"
            self.say(f"trial {trial.number}: failed: {why}")
            return
        trial.set_user_attr("point", list(point))
        if stopped:
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            trial.set_user_attr("noise", noise_of(setup.directory))
            self.study.tell(trial, search_score(point, rows))
        self.say(line(trial.number, point, trial.user_attrs["values"], stopped is not None))


def line(trial: int, point: Trade, values: Mapping[str, Any], stopped: bool) -> str:
    """Say in one line what a trial came to."""
    found = f"score {point.hypervolume:.2f}, forgotten {point.forgotten:.2f}, kept {point.retained:.2f}"
    tried = " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in values.items())
    return f"trial {trial}: {found}{' (stopped early)' if stopped else ''}: {tried}"
