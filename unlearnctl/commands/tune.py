"""Find settings of an objective for a model and its data, and write them as a recipe.

usage: unlearnctl tune objective=NAME model=NAME data=NAME eval=[a,b] [tune.minutes=20] [key=value ...]

Looks at the untouched model, trains many short runs side by side, scores them on validation items (`select`), stops
the worse ones early, and writes the best settings as recipe.yaml and all trials to search.html. The trials are ordinary
runs: `unlearnctl report TUNE_DIR/train/trials` compares them.

examples:
  unlearnctl tune objective=rmu tune.minutes=5
  unlearnctl tune objective=rmu tune.trials=0                     only look at the untouched model
  unlearnctl tune objective=npo run=mine                          the same again continues the search
  unlearnctl tune objective=rmu 'tune.space=[{key: objective.alpha, low: 1, high: 1000, log: true}]'
  unlearnctl train objective=rmu recipe=outputs/tune/NAME/RUN/recipe.yaml
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from unlearnctl.config.instantiate import plain
from unlearnctl.distributed.settings import read_launch
from unlearnctl.reporting.look_table import print_look
from unlearnctl.runs.directory import create, run_directory
from unlearnctl.runs.inherit import of_model, typed
from unlearnctl.runs.lock import locked
from unlearnctl.tuning.keys import ABSOLUTE, RATE
from unlearnctl.tuning.look import effective_rate, look
from unlearnctl.tuning.settings import Tuning
from unlearnctl.tuning.space import Setting, read_space
from unlearnctl.unlearning.prepare import Prepared, prepare
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.validate import read

BUDGET = ("minutes", "trials", "least")


def tune(cfg: DictConfig) -> Path:
    """Look, search, and write TUNE_DIR/recipe.yaml and search.html.

    Raises:
        UserError: nothing to try, no validation items, or nothing found within the budget.
    """
    tuning = read(Tuning, "tune", plain(cfg.tune))
    space = _untyped(read_space("tune.space", tuning.space)) if tuning.trials else []
    cfg = _checked(cfg, tuning)
    prepared = prepare(_unwatched(cfg))
    root = create(run_directory(cfg, "tune"), _without_budget(cfg))
    with locked(root):
        clock = _Clock(tuning.minutes, sys.stdout)
        seen = look(cfg, prepared, root, clock.say)
        print_look(seen)
        if not tuning.trials:
            return root
        return _search(cfg, tuning, space, prepared, seen, root, clock)


def _search(
    cfg: DictConfig,
    tuning: Tuning,
    space: Sequence[Setting],
    prepared: Prepared,
    seen: Mapping[str, Any],
    root: Path,
    clock: _Clock,
) -> Path:
    from unlearnctl.tuning.draw import own_settings
    from unlearnctl.tuning.found import conclude
    from unlearnctl.tuning.study import has_own, open_study, search
    from unlearnctl.tuning.trial_runs import Trials

    study, blocks = open_study(root, cfg.seed), prepared.skeleton.num_blocks
    space = [setting.in_blocks(blocks) for setting in space]
    own = own_settings(cfg, space, blocks, effective_rate(prepared, seen["trained"]))
    print(
        f"trying {', '.join(setting.key for setting in space)}; what the trials print is in {root}/trials.log"
    )
    trials = Trials(cfg, tuning, space, study, root, clock.say, None if has_own(study) else own)
    reason = search(study, tuning, trials, clock.minutes, lambda best: best.user_attrs.get("noise", 0.0))
    print(f"the search ended: {reason}")
    conclude(cfg, tuning, root, study.get_trials(deepcopy=False), seen, reason)
    return root


def _untyped(space: list[Setting]) -> list[Setting]:
    """Leave out of a shipped space what was typed: `objective.layer=7` searches the rest at that layer.

    Raises:
        UserError: nothing is left.
    """
    if "tune.space" in typed("tune")[1]:
        return space
    given = {key for group in ("objective", "trainer") for key in typed(group)[1]}
    if ABSOLUTE in given:
        given.add(RATE)
    left = [setting for setting in space if setting.key not in given]
    if not left:
        raise UserError(f"tune.space: all of it was typed ({', '.join(setting.key for setting in space)})")
    return left


def _unwatched(cfg: DictConfig) -> DictConfig:
    """Leave out in-training evaluation, which trials set for themselves and which a look has no suites for."""
    kept = cfg.copy()
    kept.trainer.monitor = {"every": 0}
    return kept


def _without_budget(cfg: DictConfig) -> DictConfig:
    """Leave out how long to search, so that a search can be continued with more."""
    kept = cfg.copy()
    kept.tune = {key: value for key, value in cfg.tune.items() if key not in BUDGET}
    return kept


class _Clock:
    """Prints lines with the time that is spent, even while the standard output is sent elsewhere."""

    def __init__(self, budget: float, out: TextIO) -> None:
        self.budget, self.out, self.started = budget, out, time.monotonic()

    def minutes(self) -> float:
        """Return the minutes since the search began."""
        return (time.monotonic() - self.started) / 60

    def say(self, text: str) -> None:
        """Print a line."""
        print(f"[{self.minutes():.1f} of {self.budget:g} min] {text}", file=self.out, flush=True)


def _checked(cfg: DictConfig, tuning: Tuning) -> DictConfig:
    """Return the config with its validation items filled in."""
    cfg = cfg.copy()
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        raise UserError("unlearnctl tune: one search at a time; leave out -m")
    if read_launch(plain(cfg.launch), cfg.trainer.device).starts_workers or cfg.launch.dry_run:
        raise UserError(f"launch={cfg.launch.name}: trials share one process; use launch=single")
    if cfg.trainer.meta is not None:
        raise UserError("trainer=meta: learns settings by itself; tune searches with trainer=default")
    if tuning.trials and tuning.looks > cfg.trainer.steps:
        raise UserError(
            f"tune.looks={tuning.looks}: at most one a step, and trainer.steps={cfg.trainer.steps}"
        )
    if cfg.select is None and typed("select")[0] is None:
        cfg.select = of_model(cfg.model, "validation")
    if not cfg.select and not tuning.trials:
        return cfg
    if not cfg.select:
        raise UserError(
            "select: settings must not be chosen on the items that are reported; name what differs, as in "
            "'select={mc: {forget: dev.jsonl, retain: other_dev.jsonl}}'"
        )
    if other := next((name for name in cfg.select if name not in (cfg.eval or {})), None):
        raise UserError(
            f"select.{other}: not a suite of eval; it has {', '.join(map(str, cfg.eval or {})) or 'none'}"
        )
    # A suite without validation items would choose settings on what is reported.
    cfg.eval = {name: suite for name, suite in cfg.eval.items() if name in cfg.select}
    return cfg
