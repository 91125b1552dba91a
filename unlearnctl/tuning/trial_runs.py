"""Carry out trials: each is an ordinary training run, scored on validation items, several side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from omegaconf import DictConfig, OmegaConf, open_dict
from optuna.trial import TrialState

from unlearnctl.results.run import Row, load_run
from unlearnctl.results.trade_off import Trade, trade
from unlearnctl.sweeps.together import groups, run_together
from unlearnctl.tuning.settings import Tuning
from unlearnctl.tuning.space import Setting
from unlearnctl.unlearning.session import Session
from unlearnctl.unlearning.setup import Setup, make_setup
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.explain import explain

OWN = ("tune", "select")  # keys of `tune` that a training run does not have
RUNS = "trials"  # name of the runs, under TUNE_DIR/train


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
        made.trainer.monitor.overrides = None
        for key, value in with_one_rate(values).items():
            OmegaConf.update(made, key, value, merge=False)
        made.trainer.monitor.every = max(1, made.trainer.steps // tuning.looks)
    return made


def with_one_rate(values: Mapping[str, Any]) -> dict[str, Any]:
    """Switch off a shipped recipe's absolute rate where a relative one is tried: a run takes one of them."""
    absolute = {"trainer.optimizer.lr": None} if "trainer.relative_lr" in values else {}
    return {**absolute, **values}


@dataclass
class Trials:
    """Draws settings, trains them, and tells the study what came of it."""

    cfg: DictConfig
    tuning: Tuning
    space: list[Setting]
    study: optuna.Study
    root: Path
    say: Callable[[str], None]
    running: dict[Path, optuna.Trial] = field(default_factory=dict)
    stopped: set[int] = field(default_factory=set)

    def __call__(self, count: int) -> None:
        """Carry out `count` trials.

        Raises:
            UserError: none of them could even begin, so that the fault is not in the values.
        """
        setups, refused = [], []
        for _ in range(count):
            trial = self.study.ask()
            try:
                setups.append(self._set_up(trial))
            except UserError as error:
                refused.append(error)
                self.study.tell(trial, state=TrialState.FAIL)
                self.say(f"trial {trial.number}: {error}")
        if not setups:
            raise refused[0]
        for group in groups(setups, self.tuning.together):
            self._train(group)
            self._check_base(group)

    def _set_up(self, trial: optuna.Trial) -> Setup:
        values = {setting.key: setting.draw(trial) for setting in self.space}
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
                run_together(group, self._ended, self._begun)
        except Exception as error:  # one of them stopped the group
            for setup in group:
                if setup.directory in self.running:
                    self._ended(setup, error)

    def _check_base(self, group: Sequence[Setup]) -> None:
        for setup in group:
            if (setup.directory / "results.json").is_file():
                check_base(load_run(setup.directory, history=False).rows)
                return

    def _begun(self, session: Session) -> None:
        """Have a trial stopped where others at the same point were clearly better."""
        trial, steps = self.running[session.setup.directory], session.setup.prepared.settings.steps

        def judge(step: int, forgotten: float, retained: float) -> str | None:
            trial.report(forgotten * retained, step)
            if step == steps:
                return None
            self.say(
                f"trial {trial.number}: step {step} of {steps}, forgotten {forgotten:.2f}, kept {retained:.2f}"
            )
            if not trial.should_prune():
                return None
            self.stopped.add(trial.number)
            return f"other trials were better at step {step}"

        session.listen(judge)

    def _ended(self, setup: Setup, error: BaseException | None) -> None:
        trial = self.running.pop(setup.directory)
        point = None if error else trade(load_run(setup.directory, history=False).rows)
        if point is None:
            self.study.tell(trial, state=TrialState.FAIL)
            why = explain(error) if isinstance(error, Exception) else "no score on both sides"
            self.say(f"trial {trial.number}: failed: {why}")
            return
        stopped = trial.number in self.stopped
        trial.set_user_attr("point", list(point))
        if stopped:
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            self.study.tell(trial, point.hypervolume)
        self.say(line(trial.number, point, trial.user_attrs["values"], stopped))


def check_base(rows: Sequence[Row]) -> None:
    """Refuse to search where the untouched model scores no better than by guessing.

    Raises:
        UserError: that is so for every forget score that has a chance level.
    """
    known = [
        row for row in rows if row.role == "forget" and row.goal == "lower" and row.chance and row.before.half
    ]
    scores = [f"{row.suite} {row.metric} {row.before.value:.2f} (chance {row.chance:.2f})" for row in known]
    if known and all((row.before.value or 0) - (row.before.half or 0) <= (row.chance or 0) for row in known):
        raise UserError(f"nothing to forget here: the untouched model only guesses: {', '.join(scores)}")


def line(trial: int, point: Trade, values: Mapping[str, Any], stopped: bool) -> str:
    """Say in one line what a trial came to."""
    found = f"score {point.hypervolume:.2f}, forgotten {point.forgotten:.2f}, kept {point.retained:.2f}"
    tried = " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in values.items())
    return f"trial {trial}: {found}{' (stopped early)' if stopped else ''}: {tried}"
