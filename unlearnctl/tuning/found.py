"""Say what a search came to: the recipe, the page, and the command to type next."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from optuna.trial import FrozenTrial, TrialState

from unlearnctl.reporting.search_page import Search, Tried, write_search
from unlearnctl.results.trade_off import Trade
from unlearnctl.tuning.draw import with_one_rate
from unlearnctl.tuning.recipe import write_recipe
from unlearnctl.tuning.score import RUNS
from unlearnctl.tuning.settings import Tuning
from unlearnctl.tuning.study import best_of
from unlearnctl.utils.errors import UserError

MINE = ("tune.", "select", "run=", "output_dir=", "name=")  # arguments that `train` does not take over
STATES = {TrialState.COMPLETE: "completed", TrialState.PRUNED: "stopped early"}  # all others failed


def conclude(
    cfg: DictConfig,
    tuning: Tuning,
    root: Path,
    trials: Sequence[FrozenTrial],
    look: Mapping[str, Any],
    reason: str,
) -> None:
    """Write recipe and page, and say what to type next.

    Args:
        cfg: of the search.
        tuning: its settings.
        root: its directory.
        trials: all of them.
        look: what look.json holds.
        reason: why the search ended.

    Raises:
        UserError: nothing was found that is worth a recipe.
    """
    best = best_of(trials)
    score = Trade(*best.user_attrs["point"]).hypervolume if best else None
    found = best if score is not None and score >= tuning.least else None
    again = f"give more tune.minutes with run={root.name}, or a wider tune.space"
    if found:
        sentence, commands = _found(cfg, root, found, trials)
    else:
        reached = "no trial was completed" if score is None else f"the best score is {score:.2f}"
        sentence = (
            f"not found within the budget: {reached} after {len(trials)} trials (tune.least={tuning.least})"
        )
        commands = []
    title = f"{cfg.objective.name} on {cfg.model.name}, {cfg.data.name}"
    commands.append(
        ("All trials in one table", f"unlearnctl report {shlex.quote(str(root / 'train' / RUNS))}")
    )
    page = Search(
        title, f"{sentence[0].upper()}{sentence[1:]}.", _facts(trials, reason, look), commands,
        [_tried(trial) for trial in trials], found.number if found else None, look,
    )  # fmt: skip
    print(f"page: {write_search(page, root)}")
    if not found:
        raise UserError(f"{sentence}; {again}")
    print(sentence)
    print(f"train with it: {commands[0][1]}")
    print(f"recipe: {root / 'recipe.yaml'}")


def _found(
    cfg: DictConfig, root: Path, best: FrozenTrial, trials: Sequence[FrozenTrial]
) -> tuple[str, list[tuple[str, str]]]:
    """Write the recipe; returns what was found and the command that trains with it."""
    point, file = Trade(*best.user_attrs["point"]), root / "recipe.yaml"
    command = _command(file)
    sentence = (
        f"trial {best.number} of {len(trials)} forgets {point.forgotten:.2f} of what could be forgotten and keeps "
        f"{point.retained:.2f}, on validation items"
    )
    if noise := best.user_attrs.get("noise"):
        sentence += f" (score {point.hypervolume:.2f} ± {noise:.2f})"
    own = next((trial for trial in trials if "own" in trial.user_attrs and "point" in trial.user_attrs), None)
    if own and own.number != best.number:
        sentence += f"; the config's own settings scored {Trade(*own.user_attrs['point']).hypervolume:.2f}"
    elif own:
        sentence += "; these are the config's own settings, which nothing beat"
    heading = [f"{cfg.objective.name} on {cfg.model.name}, found by `unlearnctl tune`: {sentence}.", command]
    # The length and the batch of the trials, for which the rest was found.
    fixed = {f"trainer.{key}": cfg.trainer[key] for key in ("steps", "global_batch")}
    write_recipe(file, heading, {**fixed, **with_one_rate(best.user_attrs["values"])})
    return sentence, [("Train with it", command)]


def _command(recipe: Path) -> str:
    """Write the command that trains with the recipe what was tuned."""
    kept = [arg for arg in sys.argv[1:] if not arg.startswith(MINE)]
    return shlex.join(["unlearnctl", "train", *kept, f"recipe={recipe}"])


def _facts(trials: Sequence[FrozenTrial], reason: str, look: Mapping[str, Any]) -> list[str]:
    states = [_tried(trial).state for trial in trials]
    ended = [f"{states.count(word)} {word}" for word in ("stopped early", "failed") if word in states]
    minutes = minutes_of(trials) + look["seconds"] / 60
    return [
        f"{len(trials)} trials{''.join(f', {part}' for part in ended)}",
        f"{minutes:.1f} minutes",
        f"ended: {reason}",
    ]


def minutes_of(trials: Sequence[FrozenTrial]) -> float:
    """Return how long trials were at work, over all calls; what ran side by side counts once."""
    spans = sorted(
        (trial.datetime_start, trial.datetime_complete)
        for trial in trials
        if trial.datetime_start and trial.datetime_complete
    )
    total, until = 0.0, None
    for start, end in spans:
        if until is None or end > until:
            total += (end - (start if until is None else max(start, until))).total_seconds()
            until = end
    return total / 60


def _tried(trial: FrozenTrial) -> Tried:
    point = trial.user_attrs.get("point")
    completed = trial.state == TrialState.COMPLETE
    page = f"train/{RUNS}/{trial.number:03d}/report.html" if completed else None
    state = STATES.get(trial.state, "failed")
    return Tried(
        trial.number, trial.user_attrs.get("values", {}), state, Trade(*point) if point else None, page
    )
