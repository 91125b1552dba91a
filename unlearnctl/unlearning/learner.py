"""`trainer=meta` around one run: what learns, what it learns from, and where that is written."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import set_seed

from unlearnctl.objectives.base import Objective
from unlearnctl.results.trade_off import trade_off
from unlearnctl.training.meta.knobs import knob_values, make_policy, turn
from unlearnctl.training.meta.online import Online
from unlearnctl.training.meta.policy import Action
from unlearnctl.training.meta.replay import Replay, read_schedule
from unlearnctl.training.meta.search import search
from unlearnctl.training.meta.settings import MetaSettings
from unlearnctl.training.settings import Monitor, TrainerSettings
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.stopping import exception_from

if TYPE_CHECKING:
    from unlearnctl.unlearning.session import Run


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
    if meta.mode in ("search", "random"):
        if meta.episode_steps > settings.steps:
            raise UserError(
                f"trainer.meta.episode_steps={meta.episode_steps}: must be at most trainer.steps={settings.steps}"
            )
        if world > 1:
            raise UserError(f"trainer.meta.mode={meta.mode}: episodes run in one process; use mode=online")


class Meta:
    """The learner of one run; a run without `trainer.meta` has none.

    Args:
        run: begun: its model, trainer and watcher are there, nothing has been trained.
        say: takes a line for people.
    """

    def __init__(self, run: Run, settings: MetaSettings, say: Callable[[str], None]) -> None:
        self.run, self.settings, self.say = run, settings, say
        self.rows: list[dict[str, Any]] = []
        self.online: Online | None = None
        self.explored = settings.mode not in ("search", "random")
        self.objective = run.ready.objective
        if settings.mode == "replay":
            replayed = Replay(self.objective, settings, read_schedule(Path(str(settings.replay))))
            run.trainer.after_step = self._then(replayed.after_step, run.trainer.after_step)
            return
        self.policy = make_policy(self.objective, settings, run.cfg.seed)
        if settings.mode == "online":
            self.online = Online(self.objective, self.policy, settings, self.log)
            run.watcher.listener = self.online.scored

    def state(self) -> dict[str, Any]:
        """For a training checkpoint. A schedule that is replayed has none: it is a function of the step."""
        return {
            "rows": self.rows, "explored": self.explored, "online": self.online.state() if self.online else None,
            "policy": None if self.settings.mode == "replay" else self.policy.state(),
        }  # fmt: skip

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`; a search that was cut is gone through again, on the scores it had."""
        self.rows, self.explored = state["rows"], state["explored"]
        if state["policy"] and self.explored:
            self.policy.load_state(state["policy"])
        if self.online:
            self.online.load_state(state["online"])

    @staticmethod
    def _then(
        first: Callable[[int], None], second: Callable[[int, bool], str | None]
    ) -> Callable[[int, bool], str | None]:
        def both(step: int, last: bool) -> str | None:
            first(step)
            return second(step, last)

        return both

    def log(self, row: dict[str, Any]) -> None:
        """Write down one action and what it brought."""
        self.rows.append(row)
        self.run.trackers.log(row, row["step"])
        knobs = "  ".join(f"{name} {value:.4g}" for name, value in row["knobs"].items())
        layers = "" if row["choice"] is None else f"  layers {list(self.settings.choices()[row['choice']])}"
        place = f"episode {row['step'] + 1}/{self.settings.episodes}" if row["kind"] == "episode" else (
            f"steps {row['step']}-{row['until']}"
        )  # fmt: skip
        self.say(
            f"  meta {place}  {knobs}{layers}  forgotten {row['forgotten']:.3f}  retained {row['retained']:.3f}  "
            f"hypervolume {row['hypervolume']:.3f}"
        )

    def explore(self) -> None:
        """With mode=search or random: the episodes, then the best one's setting for the run itself."""
        if self.explored:
            return
        known, self.rows = self.rows, []
        start = {name: p.detach().clone() for name, p in self.run.tapped.trained().items()}

        def episode(action: Action) -> tuple[float, float]:
            if len(self.rows) < len(known):
                row = known[len(self.rows)]
                return row["forgotten"], row["retained"]
            return self._episode(action, start)

        def log(row: dict[str, Any]) -> None:
            self.log(row)
            self.run.saver.between_steps()

        best = search(self.policy, self.settings, episode, log)
        self.explored = True
        turn(self.objective, best, self.settings.choices())
        row = {"kind": "meta", "step": 0, "until": self.run.ready.settings.steps, **best.record()}
        self.run.trackers.log(row, 0)
        set_seed(self.run.cfg.seed)

    def _episode(self, action: Action, start: Mapping[str, torch.Tensor]) -> tuple[float, float]:
        run, settings = self.run, self.run.ready.settings
        objective = copy.deepcopy(self.objective)
        turn(objective, action, self.settings.choices())
        short = replace(settings, steps=self.settings.episode_steps, monitor=Monitor())
        fit = run.make_trainer(objective, short).fit()
        if fit.status == "interrupted":
            raise exception_from(fit.stop_reason)
        now = run.watcher.evaluate()
        with torch.no_grad():
            for name, parameter in run.tapped.trained().items():
                parameter.copy_(start[name])
                parameter.grad = None
        point = trade_off(run.watcher.before, now) if fit.status == "completed" else None
        return point or (0.0, 0.0)

    def record(self, steps: int) -> dict[str, Any]:
        """The `train.meta` part of results.json; `steps` are those of the run itself."""
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
