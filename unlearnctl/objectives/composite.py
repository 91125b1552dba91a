"""Several functions in one run: an objective of its own for each forget topic, which take turns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from annotated_types import MinLen
from pydantic import PositiveFloat
from torch import nn

from unlearnctl.objectives.base import Architecture, Loss, Needs, Objective, View, union
from unlearnctl.utils.errors import unknown


class Composite(Objective):
    """Gives each step to the objective of its topic. Our own; topics share only the model.

    Args:
        by_topic: objectives by the names of `data.forget`'s topics, in their order.
        weights: of each topic's loss, 1 where not named. One Adam serves all: a topic whose gradients are
            hundreds of times larger fills its second moments, and the other one's steps vanish.
    """

    def __init__(
        self,
        by_topic: Annotated[Mapping[str, Objective], MinLen(1)],
        weights: Mapping[str, PositiveFloat] | None = None,
    ) -> None:
        super().__init__()
        for topic in weights or {}:
            if topic not in by_topic:
                raise unknown("objective.weights", topic, by_topic)
        self.by_topic, self.weights = nn.ModuleDict(by_topic), dict(weights or {})

    def parts(self) -> dict[str, Objective]:
        """Map each topic to its objective."""
        return dict(self.by_topic.items())  # type: ignore[arg-type]

    def needs(self) -> dict[str, Needs]:
        """Combine what the parts read."""
        asked = [part.needs() for part in self.parts().values()]
        sides = dict.fromkeys(side for needs in asked for side in needs)
        return {side: union([needs[side] for needs in asked if side in needs]) for side in sides}

    def trainable(self, arch: Architecture) -> list[str]:
        """Combine what the parts train."""
        return list(dict.fromkeys(p for part in self.parts().values() for p in part.trainable(arch)))

    def setup(self, hidden_size: int, topics: int, generator: torch.Generator) -> None:
        """Let each part draw its own buffers."""
        for part in self.parts().values():
            part.setup(hidden_size, topics, generator)

    def calibration(self) -> tuple[str, ...]:
        """Name the buffers of all parts."""
        return tuple(
            f"by_topic.{t}.{name}" for t, part in self.parts().items() for name in part.calibration()
        )

    def calibrate(self, forget: View) -> None:
        """Calibrate the objective of the batch's topic."""
        part = self._part(forget)[1]
        if part.calibration():
            part.calibrate(forget)

    def forward(self, **views: View) -> Loss:
        """Return the loss of the batch's topic, with its terms under the topic's name."""
        topic, part = self._part(views["forget"])
        loss: Loss = part(**{side: views[side] for side in part.needs()})
        weight = self.weights.get(topic, 1.0)
        terms = {f"{topic}/{name}": value for name, value in loss.terms.items()}
        return Loss(weight * loss.total, terms, None if loss.forget is None else weight * loss.forget)

    def after_step(self, terms: Mapping[str, float]) -> None:
        """Hand each part the terms of its own steps."""
        for topic, part in self.parts().items():
            own = {n.removeprefix(f"{topic}/"): v for n, v in terms.items() if n.startswith(f"{topic}/")}
            if own:
                part.after_step(own)

    def _part(self, forget: View) -> tuple[str, Objective]:
        return list(self.parts().items())[forget.batch.topic]
