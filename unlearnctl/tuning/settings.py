"""The `tune` part of a config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import Ge, Lt
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt


@dataclass(frozen=True)
class Tuning:
    """How long and how widely to search.

    Args:
        minutes: budget of one call; a group of trials begins if half of it still fits.
        trials: the most trials, over all calls; 0 only looks at the untouched model.
        together: trials that train side by side in one process, on shared frozen blocks.
        looks: times that a trial is scored while it trains; the worse ones are stopped after each (successive halving).
        look_items: questions of each file that a look asks, where the suite has a `limit`; null: as many as at the end.
        least: score (share forgotten × share retained) below which nothing counts as found.
        space: what is tried, see `Setting`.
    """

    minutes: PositiveFloat
    trials: NonNegativeInt
    together: PositiveInt
    looks: PositiveInt
    look_items: PositiveInt | None
    least: Annotated[float, Ge(0), Lt(1)]
    space: Sequence[Mapping[str, Any]] = field(default_factory=list)
