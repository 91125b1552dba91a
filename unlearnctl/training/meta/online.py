"""Learn while a run trains: one action after each in-training evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unlearnctl.objectives.base import Objective
from unlearnctl.training.meta.knobs import Log, hypervolume, turn
from unlearnctl.training.meta.policy import Action, Policy
from unlearnctl.training.meta.settings import MetaSettings


class Online:
    """Acts at every in-training evaluation of one run; the reward is the change in hypervolume since the last one.

    Args:
        objective: whose knobs are turned.
        policy: the learner.
        settings: `trainer.meta`.
        log: takes one row an action: what was set from `step` to `until`, and what it brought.
    """

    def __init__(self, objective: Objective, policy: Policy, settings: MetaSettings, log: Log) -> None:
        self.objective, self.policy, self.settings, self.log = objective, policy, settings, log
        self.volume = 0.0
        self.started = 0
        self._act(policy.centre())

    def _act(self, action: Action) -> None:
        self.action = action
        turn(self.objective, action, self.settings.choices())

    def state(self) -> dict[str, Any]:
        """Return the action that is being tried, since which step, and the hypervolume before it."""
        return {"volume": self.volume, "started": self.started, "action": vars(self.action)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Put a state back, and set the knobs."""
        self.volume, self.started = state["volume"], state["started"]
        self._act(Action(**state["action"]))

    def scored(self, step: int, forgotten: float, retained: float) -> None:
        """Learn from what the last action brought, and choose the next."""
        volume = hypervolume(forgotten, retained, self.settings.reference_point)
        reward, self.volume = volume - self.volume, volume
        log_prob = self.policy.log_prob(self.action).item()
        self.policy.update([self.action], [reward])
        row = {
            "kind": "meta",
            "step": self.started,
            "until": step,
            **self.action.record(),
            "forgotten": forgotten,
            "retained": retained,
            "hypervolume": volume,
            "reward": reward,
            "log_prob": log_prob,
            **self.policy.record(),
        }
        self.log(row)
        self.started = step
        self._act(self.policy.sample())
