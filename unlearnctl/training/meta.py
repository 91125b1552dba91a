"""Meta-learned trade-offs around any objective (arXiv 2605.26454; our reading, only the abstract is known).

The abstract says "meta-learned"; a summary says that reinforcement learning guides adaptively learned trade-offs,
and it cites REINFORCE and hypervolume. What is acted on (the objective's own weights, on a log scale, and its layers),
the reward (hypervolume of forgotten and retained share on validation items), and the modes are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from pathlib import Path
from typing import Any

from unlearnctl.objectives.base import Objective
from unlearnctl.training.policy import Action, Policy
from unlearnctl.utils.errors import UserError, unknown, unknown_key
from unlearnctl.utils.safe_json import loads

MODES = ("online", "search", "random", "replay")
Log = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class MetaSettings:
    """`cfg.trainer.meta`."""

    mode: str = "online"
    knobs: list[str] = field(default_factory=list)
    factor: float = 10.0
    layers: list[Any] | None = None
    episodes: int = 6
    episode_steps: int = 100
    group: int = 2
    lr: float = 0.1
    spread: float = 0.2
    entropy: float = 0.001
    decay: float = 0.8
    reference_point: list[float] = field(default_factory=lambda: [0.0, 0.0])
    replay: str | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise unknown("trainer.meta.mode", self.mode, MODES)
        _require(self.factor > 1, "factor", self.factor, "above 1")
        for name in ("episodes", "episode_steps", "group"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("lr", "spread"):
            _require(getattr(self, name) > 0, name, getattr(self, name), "positive")
        _require(self.entropy >= 0, "entropy", self.entropy, "0 or more")
        _require(0 <= self.decay < 1, "decay", self.decay, "0 or more, below 1")
        point = self.reference_point
        _require(
            len(point) == 2 and all(isinstance(x, int | float) and 0 <= x < 1 for x in point),
            "reference_point", point, "[forgotten, retained], each 0 or more and below 1",
        )  # fmt: skip
        _require((self.mode == "replay") == (self.replay is not None), "replay", self.replay,
                 "a run directory, with mode=replay alone")  # fmt: skip
        _require(bool(self.knobs or self.layers or self.mode == "replay"), "knobs", self.knobs,
                 "names of numbers of the objective, or layers must have choices")  # fmt: skip

    @classmethod
    def from_config(cls, cfg: Mapping[str, Any]) -> MetaSettings:
        """Take `cfg.trainer.meta`.

        Raises:
            UserError: an unknown key or a value out of range, by its config key.
        """
        names = [f.name for f in fields(cls)]
        for name in cfg:
            if name not in names:
                raise unknown_key("trainer.meta", name, names)
        return cls(**cfg)

    def choices(self) -> list[tuple[int, ...]]:
        """Layer choices, each a tuple of block indices."""
        return [(c,) if isinstance(c, int) else tuple(c) for c in self.layers or []]


def _require(condition: bool, key: str, value: object, allowed: str) -> None:
    if not condition:
        raise UserError(f"trainer.meta.{key}={value}: must be {allowed}")


def hypervolume(forgotten: float, retained: float, reference: Sequence[float]) -> float:
    """Area that one point of the (forgotten, retained) plane dominates above the reference point."""
    return max(0.0, forgotten - reference[0]) * max(0.0, retained - reference[1])


def knob_values(objective: Objective, names: Sequence[str]) -> dict[str, float]:
    """The objective's own values of its knobs.

    Raises:
        UserError: a name that is no positive number of the objective.
    """
    return {name: _knob(objective, name) for name in names}


def _knob(objective: Objective, name: str) -> float:
    numbers = [
        k for k, v in vars(objective).items() if isinstance(v, float | int) and not isinstance(v, bool)
    ]
    try:
        value = attrgetter(name)(objective)
    except AttributeError:
        raise unknown("trainer.meta.knobs", name, [k for k in numbers if not k.startswith("_")]) from None
    positive = isinstance(value, float | int) and value > 0
    _require(positive, "knobs", name, f"a positive number of the objective; it is {value}")
    return float(value)


def turn(objective: Objective, action: Action, choices: Sequence[tuple[int, ...]]) -> None:
    """Set the knobs, and the layers read."""
    for name, value in action.knobs.items():
        owner, _, leaf = name.rpartition(".")
        setattr(attrgetter(owner)(objective) if owner else objective, leaf, value)
    if action.choice is not None:
        objective.read_at(choices[action.choice])


def make_policy(objective: Objective, settings: MetaSettings, seed: int) -> Policy:
    """A policy centred on the objective's own values; mode=random draws from the whole range and never updates it."""
    s, starts = settings, knob_values(objective, settings.knobs)
    return Policy(starts, s.factor, len(s.choices()), s.lr, s.spread, s.entropy, s.decay, seed)


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
        """The action that is being tried, since when, and from which hypervolume on."""
        return {"volume": self.volume, "started": self.started, "action": vars(self.action)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`; the knobs are set."""
        self.volume, self.started = state["volume"], state["started"]
        self._act(Action(**state["action"]))

    def scored(self, step: int, forgotten: float, retained: float) -> None:
        """Learn from what the last action brought, and choose the next."""
        volume = hypervolume(forgotten, retained, self.settings.reference_point)
        reward, self.volume = volume - self.volume, volume
        log_prob = self.policy.log_prob(self.action).item()
        self.policy.update([self.action], [reward])
        self.log({
            "kind": "meta", "step": self.started, "until": step, **self.action.record(), "forgotten": forgotten,
            "retained": retained, "hypervolume": volume, "reward": reward, "log_prob": log_prob, **self.policy.record(),
        })  # fmt: skip
        self.started = step
        self._act(self.policy.sample())


def search(
    policy: Policy, settings: MetaSettings, episode: Callable[[Action], tuple[float, float]], log: Log
) -> Action:
    """Short runs from the original weights; the action of the best one. The first has the config's own values.

    Args:
        policy: the learner; with mode=random it is never updated, and actions are drawn evenly from the range.
        settings: `trainer.meta`.
        episode: trains with an action and returns (forgotten, retained).
        log: takes one row an episode.
    """
    best, best_volume = policy.centre(), -1.0
    group: list[tuple[Action, float]] = []
    for number in range(settings.episodes):
        draw = policy.evenly if settings.mode == "random" else policy.sample
        action = policy.centre() if number == 0 else draw()
        forgotten, retained = episode(action)
        volume = hypervolume(forgotten, retained, settings.reference_point)
        log_prob = policy.log_prob(action).item()
        group.append((action, volume))
        if len(group) == settings.group and settings.mode == "search":
            policy.update(*zip(*group, strict=True))
            group = []
        log({
            "kind": "episode", "step": number, "steps": settings.episode_steps, **action.record(),
            "forgotten": forgotten, "retained": retained, "hypervolume": volume, "reward": volume,
            "log_prob": log_prob, **policy.record(),
        })  # fmt: skip
        if volume > best_volume:
            best, best_volume = action, volume
    return best


class Replay:
    """Turns the knobs as an earlier run did, step for step; nothing is measured and nothing learned."""

    def __init__(self, objective: Objective, settings: MetaSettings, schedule: Mapping[int, Action]) -> None:
        self.objective, self.choices, self.schedule = objective, settings.choices(), schedule
        self.after_step(0)

    def after_step(self, step: int) -> None:
        """Set what the schedule has for the step that comes next."""
        if step in self.schedule:
            turn(self.objective, self.schedule[step], self.choices)


def read_schedule(folder: Path) -> dict[int, Action]:
    """Step → action, from a run's metrics.jsonl.

    Raises:
        UserError: the run has none.
    """
    key = f"trainer.meta.replay={folder}"
    try:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [loads(line) for line in lines]
        found = {r["step"]: Action(r["knobs"], r["choice"]) for r in rows if r.get("kind") == "meta"}
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{key}: no readable metrics.jsonl with a schedule ({type(error).__name__})"
        ) from None
    if not found:
        raise UserError(f"{key}: that run has no learned schedule; it was no run with trainer=meta")
    return found
