"""Read and check `cfg.trainer.meta`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from unlearnctl.utils.errors import UserError, unknown, unknown_key

MODES = ("online", "search", "random", "replay")


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
