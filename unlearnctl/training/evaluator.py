"""In-training evaluation: the trade-off, the best step so far, and when to stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from unlearnctl.training.settings import Monitor

if TYPE_CHECKING:
    from torch import Tensor

    from unlearnctl.results.metric import Metric

Scores = Mapping[str, Mapping[str, "Metric"]]


def trade_off(before: Scores, now: Scores) -> tuple[float, float]:
    """(forgotten share, retained share), each 0-1; their product is the hypervolume of this one point.

    Forgotten: mean over forget metrics of (before − now)/(before − chance), chance 0 where there is none.
    Retained: mean over retain metrics of (now − chance)/(before − chance); for perplexities before/now.
    Only forget metrics that should fall and retain metrics that should rise, or are perplexities, count: a p-value
    or an AUC that should end at chance has no such share.
    Shares are clipped to 0-1. Our own definition; what the papers plot are the metrics themselves.
    """
    forgotten, retained = [], []
    for was, value in _pairs(before, now):
        if was.role == "forget":
            forgotten.append(_share(was.value - value, was.value - (was.chance or 0.0)))
        elif was.goal == "lower":
            retained.append(_share(was.value, value))
        else:
            retained.append(_share(value - (was.chance or 0.0), was.value - (was.chance or 0.0)))
    return _mean(forgotten), _mean(retained)


def _pairs(before: Scores, now: Scores) -> Iterator[tuple[Metric, float]]:
    for suite, metrics in now.items():
        for name, metric in metrics.items():
            if name in before.get(suite, {}) and _counts(name, metric):
                yield before[suite][name], metric.value


def _counts(name: str, metric: Metric) -> bool:
    wanted = {"forget": "lower", "retain": "lower" if name.endswith("ppl") else "higher"}
    return wanted.get(metric.role) == metric.goal


def _share(part: float, whole: float) -> float:
    return min(1.0, max(0.0, part / whole)) if whole > 0 else 0.0


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 1.0


@dataclass
class Watcher:
    """Evaluates every n steps, remembers the best weights, says when the damage is too much."""

    settings: Monitor
    evaluate: Callable[[], Scores]
    snapshot: Callable[[], dict[str, Tensor]]
    report: Callable[[int, Scores], None]
    before: Scores = field(default_factory=dict)
    listener: Callable[[int, float, float], None] = lambda step, forgotten, retained: None
    best_step: int | None = None
    best_score: float = -1.0
    best_tensors: dict[str, Tensor] | None = None

    def start(self) -> None:
        """Measure the untouched model, on the same items as later."""
        if self.settings.every:
            self.before = self.evaluate()
            self.report(0, self.before)

    def state(self) -> dict[str, Any]:
        """What was measured and kept so far."""
        before = {s: {n: vars(metric) for n, metric in found.items()} for s, found in self.before.items()}
        return {
            "before": before, "best_step": self.best_step, "best_score": self.best_score,
            "best_tensors": self.best_tensors,
        }  # fmt: skip

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from there; nothing is measured again."""
        from unlearnctl.results.metric import Metric

        self.before = {
            s: {n: Metric(**values) for n, values in found.items()} for s, found in state["before"].items()
        }
        self.best_step, self.best_score = state["best_step"], state["best_score"]
        self.best_tensors = state["best_tensors"]

    def after_step(self, step: int, last: bool) -> str | None:
        """Evaluate if due (`step` steps done); a reason to stop, or None."""
        if not self.settings.every or (step % self.settings.every and not last):
            return None
        now = self.evaluate()
        self.report(step, now)
        forgotten, retained = trade_off(self.before, now)
        self.listener(step, forgotten, retained)
        if self.settings.keep == "best" and forgotten * retained > self.best_score:
            self.best_step, self.best_score, self.best_tensors = step, forgotten * retained, self.snapshot()
        bound = self.settings.max_retain_damage
        if bound is not None and 1 - retained > bound:
            return f"retain damage {1 - retained:.3f} passed trainer.monitor.max_retain_damage={bound}"
        return None
