"""Evaluate during training: the trade-off, the best step so far, and when to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from unlearnctl.results.metric import Metric, Scores
from unlearnctl.results.trade_off import trade_off
from unlearnctl.training.settings import Monitor

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Evaluator:
    """Evaluates every n steps, remembers the best weights, says when the damage is too much."""

    settings: Monitor
    evaluate: Callable[[], Scores]
    snapshot: Callable[[], dict[str, Tensor]]
    report: Callable[[int, Scores], None]
    before: Scores = field(default_factory=dict)
    now: Scores = field(default_factory=dict)  # what was measured last
    listener: Callable[[int, float, float], str | None] = lambda step, forgotten, retained: None
    best_step: int | None = None
    best_score: float = -1.0  # below every hypervolume, so that the first evaluation counts even at 0
    best_tensors: dict[str, Tensor] | None = None
    untouched: Callable[[], Scores] | None = None  # scores of the model before training; None: `evaluate`

    def start(self) -> None:
        """Measure the untouched model, on the same items as later."""
        if self.settings.every:
            self.before = self.now = (self.untouched or self.evaluate)()
            self.report(0, self.before)

    def measure(self) -> Scores:
        """Evaluate now, whatever the step."""
        self.now = self.evaluate()
        return self.now

    def state(self) -> dict[str, Any]:
        """Return what was measured and kept so far."""
        before = {s: {n: vars(metric) for n, metric in found.items()} for s, found in self.before.items()}
        return {
            "before": before,
            "best_step": self.best_step,
            "best_score": self.best_score,
            "best_tensors": self.best_tensors,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a state; nothing is measured again."""
        self.before = {
            s: {n: Metric(**values) for n, values in found.items()} for s, found in state["before"].items()
        }
        self.best_step, self.best_score = state["best_step"], state["best_score"]
        self.best_tensors = state["best_tensors"]

    def after_step(self, step: int, last: bool) -> str | None:
        """Evaluate if it is time (`step` steps are done); returns a reason to stop, or None."""
        if not self.settings.every or (step % self.settings.every and not last):
            return None
        now = self.measure()
        self.report(step, now)
        point = trade_off(self.before, now)
        if point is None:  # nothing to choose a step by, and nothing to stop for
            return None
        reason = self.listener(step, *point)
        if self.settings.keep == "best" and point.hypervolume > self.best_score:
            self.best_step, self.best_score, self.best_tensors = step, point.hypervolume, self.snapshot()
        bound, damage = self.settings.max_retain_damage, 1 - point.retained
        if bound is not None and damage > bound:
            return f"retain damage {damage:.3f} passed trainer.monitor.max_retain_damage={bound}"
        return reason
