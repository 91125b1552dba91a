"""Find settings of an objective for a model and its data, and write them as a recipe.

usage: unlearnctl tune objective=NAME model=NAME data=NAME eval=[a,b] [tune.minutes=20] [key=value ...]

Trains many short runs side by side, scores them on validation items (`select`), stops the worse ones early, and
writes the best settings as recipe.yaml. The trials are ordinary runs: `unlearnctl report TUNE_DIR/train/trials`
shows them all in the plane of what is forgotten and what is kept.

examples:
  unlearnctl tune objective=rmu tune.minutes=5
  unlearnctl tune objective=npo run=mine                          the same again continues the search
  unlearnctl tune objective=rmu 'tune.space=[{key: objective.alpha, low: 1, high: 1000, log: true}]'
  unlearnctl train objective=rmu recipe=outputs/tune/NAME/RUN/recipe.yaml
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from unlearnctl.config.instantiate import plain
from unlearnctl.distributed.settings import read_launch
from unlearnctl.results.trade_off import Trade
from unlearnctl.runs.directory import create, run_directory
from unlearnctl.runs.inherit import of_model, typed
from unlearnctl.runs.lock import locked
from unlearnctl.training.rate import relative_rate
from unlearnctl.tuning.recipe import write_recipe
from unlearnctl.tuning.settings import Tuning
from unlearnctl.tuning.space import read_space
from unlearnctl.unlearning.prepare import prepare
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.validate import read

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

BUDGET = ("minutes", "trials", "least")
MINE = ("tune.", "select", "run=", "output_dir=", "name=")  # arguments that `train` does not take over


def tune(cfg: DictConfig) -> Path:
    """Search, and write TUNE_DIR/recipe.yaml.

    Raises:
        UserError: nothing to try, no validation items, or nothing found within the budget.
    """
    from unlearnctl.tuning.draw import own_settings
    from unlearnctl.tuning.score import read_noise
    from unlearnctl.tuning.study import best_of, has_own, open_study, search
    from unlearnctl.tuning.trial_runs import Trials

    tuning = read(Tuning, "tune", plain(cfg.tune))
    space = read_space("tune.space", tuning.space)
    cfg = _checked(cfg, tuning)
    prepared = prepare(cfg)
    blocks = prepared.skeleton.num_blocks
    space = [setting.in_blocks(blocks) for setting in space]
    root = create(run_directory(cfg, "tune"), _without_budget(cfg))
    with locked(root):
        study = open_study(root, cfg.seed)
        clock = _Clock(tuning.minutes, sys.stdout)
        print(
            f"trying {', '.join(setting.key for setting in space)}; what the trials print is in {root}/trials.log"
        )
        own = own_settings(cfg, space, blocks, relative_rate(prepared.settings, prepared.objective.needs()))
        first = None if has_own(study) else own
        trials = Trials(cfg, tuning, space, study, root, clock.say, first)
        reason = search(study, tuning, trials, clock.minutes, lambda best: read_noise(root, best.number))
        print(f"the search ended: {reason}")
        return _report(cfg, tuning, root, study, best_of(study))


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
    if tuning.looks > cfg.trainer.steps:
        raise UserError(
            f"tune.looks={tuning.looks}: at most one a step, and trainer.steps={cfg.trainer.steps}"
        )
    if cfg.select is None and typed("select")[0] is None:
        cfg.select = of_model(cfg.model, "validation")
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


def _report(cfg: DictConfig, tuning: Tuning, root: Path, study: Study, best: FrozenTrial | None) -> Path:
    """Write the recipe and say what to type next.

    Raises:
        UserError: nothing was found that is worth a recipe.
    """
    tried = len(study.get_trials(deepcopy=False))
    print(f"all trials: unlearnctl report {shlex.quote(str(root / 'train' / 'trials'))}")
    score_of = Trade(*best.user_attrs["point"]).hypervolume if best else None
    if best is None or score_of is None or score_of < tuning.least:
        score = "no trial was completed" if score_of is None else f"the best score is {score_of:.2f}"
        raise UserError(
            f"not found within the budget: {score} after {tried} trials (tune.least={tuning.least}); give more "
            f"tune.minutes with run={root.name}, or a wider tune.space"
        )
    forgotten, kept = best.user_attrs["point"]
    file, command = root / "recipe.yaml", _command(root / "recipe.yaml")
    found = f"trial {best.number} of {tried}: forgotten {forgotten:.2f}, kept {kept:.2f}, on validation items"
    write_recipe(file, [f"{cfg.objective.name} on {cfg.model.name}, found by `unlearnctl tune`: {found}.", command],
                 _settings(cfg, best.user_attrs["values"]))  # fmt: skip
    print(found)
    print(f"train with it: {command}")
    print(f"recipe: {file}")
    return root


def _settings(cfg: DictConfig, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was found, with the length and the batch of the trials, which it was found for."""
    from unlearnctl.tuning.draw import with_one_rate

    fixed = {f"trainer.{key}": cfg.trainer[key] for key in ("steps", "global_batch")}
    return {**fixed, **with_one_rate(values)}


def _command(recipe: Path) -> str:
    """Write the command that trains with the recipe what was tuned."""
    kept = [arg for arg in sys.argv[1:] if not arg.startswith(MINE)]
    return shlex.join(["unlearnctl", "train", *kept, f"recipe={recipe}"])
