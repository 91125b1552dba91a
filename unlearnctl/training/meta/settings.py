"""Define what `conf/trainer/meta.yaml` may hold below `meta`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Len, Lt
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from unlearnctl.utils.describe import written
from unlearnctl.utils.errors import UserError

Share = Annotated[float, Ge(0), Lt(1)]


@dataclass(frozen=True)
class MetaSettings:
    """`cfg.trainer.meta`."""

    mode: Literal["online", "search", "random", "replay"] = "online"
    reward: Literal["texts", "suites"] = "suites"  # a config of before this key was rewarded by suites
    knobs: list[str] = field(default_factory=list)
    factor: Annotated[float, Gt(1)] = 10.0
    layers: list[Any] | None = None
    episodes: PositiveInt = 6
    episode_steps: PositiveInt = 100
    group: PositiveInt = 2
    lr: PositiveFloat = 0.1
    spread: PositiveFloat = 0.2
    entropy: NonNegativeFloat = 0.001
    decay: Share = 0.8
    reference_point: Annotated[list[Share], Len(2, 2)] = field(default_factory=lambda: [0.0, 0.0])
    replay: str | None = None  # a run directory

    def __post_init__(self) -> None:
        if (self.mode == "replay") != (self.replay is not None):
            raise UserError(
                f"trainer.meta.replay={written(self.replay)}: must be a run directory with mode=replay, else null"
            )
        if not (self.knobs or self.layers or self.mode == "replay"):
            raise UserError(
                "trainer.meta.knobs=[]: must name numbers of the objective, unless layers has choices"
            )

    def choices(self) -> list[tuple[int, ...]]:
        """Layer choices, each a tuple of block indices."""
        return [(c,) if isinstance(c, int) else tuple(c) for c in self.layers or []]
