"""Connect the learner of `trainer=meta` to one run: what it acts on, what it learns from, where that is written."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import set_seed

from unlearnctl.objectives.base import Objective
from unlearnctl.results.trade_off import noise, trade_off
from unlearnctl.training.meta.knobs import knob_values, make_policy, turn
from unlearnctl.training.meta.online import Online
from unlearnctl.training.meta.policy import Action
from unlearnctl.training.meta.replay import Replay, read_schedule
from unlearnctl.training.meta.search import search
from unlearnctl.training.meta.settings import MetaSettings
from unlearnctl.training.settings import Monitor, TrainerSettings
from unlearnctl.utils.describe import written
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.stopping import exception_from

if TYPE_CHECKING:
    from unlearnctl.training.evaluator import Evaluator
    from unlearnctl.training.loop import Trainer


def check_meta(objective: Objective, settings: TrainerSettings, world: int) -> None:
    """Refuse what a meta-learned run cannot do, before weights load.

    Raises:
        UserError: by config key.
    """
    meta = settings.meta
    if meta is None:
        return
    knob_values(objective, meta.knobs)
    if meta.mode == "replay":
        read_schedule(Path(str(meta.replay)))
        return
    if not settings.monitor.every:
        raise UserError(
            "trainer.monitor.every=0: trainer=meta learns from in-training evaluation; set it to steps"
        )
    if meta.reward == "texts" and settings.monitor.overrides:
        raise UserError(
            f"trainer.monitor.overrides={written(settings.monitor.overrides)}: no suite is asked with "
            "trainer.meta.reward=texts; set it to null, or reward to suites"
        )
    if meta.mode in ("search", "random"):
        if meta.episode_steps > settings.steps:
            raise UserError(
                f"trainer.meta.episode_steps={meta.episode_steps}: must be at most trainer.steps={settings.steps}"
            )
        if world > 1:
            raise UserError(f"trainer.meta.mode={meta.mode}: episodes run in one process; use mode=online")


class Learner:
    """Learns the trade-off of one run; a run without `trainer.meta` has no learner.

    Args:
        settings: `cfg.trainer.meta`.
        objective: whose knobs are turned; after its setup.
        seed: of the policy's draws.
        log: takes a row for metrics.jsonl and the tracker.
        say: takes a line for people.
    """

    def __init__(
        self,
        settings: MetaSettings,
        objective: Objective,
        seed: int,
        log: Callable[[dict[str, Any], int], None],
        say: Callable[[str], None],
    ) -> None:
        self.settings, self.objective, self.seed = settings, objective, seed
        self.send, self.say = log, say
        self.rows: list[dict[str, Any]] = []
        self.noise = 0.0  # of what the last action brought
        self.explored = settings.mode not in ("search", "random")
        self.online: Online | None = None
        if settings.mode != "replay":
            self.policy = make_policy(objective, settings, seed)
        if settings.mode == "online":
            self.online = Online(objective, self.policy, settings, self.log)

    def attach(self, trainer: Trainer, evaluator: Evaluator) -> None:
        """Have the learner called while the run trains: after each evaluation, or after each step of a replay.

        Raises:
            UserError: no suite measures what the learner weighs, so it could never learn.
        """
        learns = self.settings.mode != "replay"
        if learns and evaluator.before and trade_off(evaluator.before, evaluator.before) is None:
            raise UserError(
                f"trainer.meta.mode={self.settings.mode}: learns from what is forgotten and what is retained, and no "
                "suite in eval measures either"
            )
        if self.online:
            online = self.online

            def scored(step: int, forgotten: float, retained: float) -> None:
                self.noise = noise(evaluator.before, evaluator.now)
                online.scored(step, forgotten, retained)

            evaluator.listener = scored
        if self.settings.mode == "replay":
            replay = Replay(self.objective, self.settings, read_schedule(Path(str(self.settings.replay))))
            evaluate = trainer.after_step

            def after_step(step: int, last: bool) -> str | None:
                replay.after_step(step)
                return evaluate(step, last)

            trainer.after_step = after_step

    def state(self) -> dict[str, Any]:
        """Return what a training checkpoint needs. A replayed schedule has no policy: it is a function of the step."""
        return {
            "rows": self.rows,
            "explored": self.explored,
            "online": self.online.state() if self.online else None,
            "policy": None if self.settings.mode == "replay" else self.policy.state(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Put a state back; a search that was cut runs again from its start, with the scores that it had."""
        self.rows, self.explored = state["rows"], state["explored"]
        if state["policy"] and self.explored:
            self.policy.load_state(state["policy"])
        if self.online:
            self.online.load_state(state["online"])

    def log(self, row: dict[str, Any]) -> None:
        """Write down one action, what it brought, and how uncertain that is."""
        row["noise"] = self.noise
        self.rows.append(row)
        self.send(row, row["step"])
        knobs = "  ".join(f"{name} {value:.4g}" for name, value in row["knobs"].items())
        layers = "" if row["choice"] is None else f"  layers {list(self.settings.choices()[row['choice']])}"
        place = f"steps {row['step']}-{row.get('until')}"
        if row["kind"] == "episode":
            place = f"episode {row['step'] + 1}/{self.settings.episodes}"
        self.say(
            f"  meta {place}  {knobs}{layers}  forgotten {row['forgotten']:.3f}  retained {row['retained']:.3f}  "
            f"hypervolume {row['hypervolume']:.3f}"
        )

    def explore(
        self,
        trainer: Trainer,
        evaluator: Evaluator,
        make_trainer: Callable[[Objective, TrainerSettings], Trainer],
        checkpoint: Callable[[], None],
    ) -> None:
        """With mode=search or random: run the episodes, then set the best one's knobs for the run itself."""
        if self.explored:
            return
        # A search that was cut draws the same actions again, and takes their scores from the rows it had logged.
        known, self.rows = self.rows, []
        start = {name: p.detach().clone() for name, p in trainer.tapped.trained().items()}

        def episode(action: Action) -> tuple[float, float]:
            if len(self.rows) < len(known):
                row = known[len(self.rows)]
                self.noise = row.get("noise", 0.0)  # rows of older versions have none
                return row["forgotten"], row["retained"]
            return self._episode(action, trainer, evaluator, make_trainer, start)

        def log(row: dict[str, Any]) -> None:
            self.log(row)
            checkpoint()

        best = search(self.policy, self.settings, episode, log)
        self.explored = True
        turn(self.objective, best, self.settings.choices())
        row = {"kind": "meta", "step": 0, "until": trainer.settings.steps, **best.record()}
        self.send(row, 0)
        set_seed(self.seed)  # so that the run equals one that was configured with these knobs

    def _episode(
        self,
        action: Action,
        trainer: Trainer,
        evaluator: Evaluator,
        make_trainer: Callable[[Objective, TrainerSettings], Trainer],
        start: Mapping[str, torch.Tensor],
    ) -> tuple[float, float]:
        """Train briefly with an action, score it, and put the weights back."""
        # A copy, because scorers, counters and noise must be unchanged for the next episode and for the run itself.
        objective = copy.deepcopy(self.objective)
        turn(objective, action, self.settings.choices())
        short = replace(trainer.settings, steps=self.settings.episode_steps, monitor=Monitor())
        fit = make_trainer(objective, short).fit()
        if fit.status == "interrupted":  # `fit` has caught the signal, and the run would continue
            raise exception_from(fit.stop_reason)
        now = evaluator.measure()
        with torch.no_grad():
            for name, parameter in trainer.tapped.trained().items():
                parameter.copy_(start[name])
                parameter.grad = None
        # An episode that diverged gets the worst point, so that its settings are neither chosen nor rewarded.
        point = trade_off(evaluator.before, now) if fit.status == "completed" else None
        self.noise = noise(evaluator.before, now) if point else 0.0
        return point or (0.0, 0.0)

    def record(self, steps: int) -> dict[str, Any]:
        """Return the `train.meta` part of results.json; `steps` are those of the run itself."""
        spent = sum(row.get("steps", 0) for row in self.rows)
        found: dict[str, Any] = {
            "mode": self.settings.mode,
            "steps": steps + spent,
            "actions": len(self.rows),
        }
        if self.rows:
            found["best_hypervolume"] = max(row["hypervolume"] for row in self.rows)
            found["policy"] = self.policy.record()
        return found
