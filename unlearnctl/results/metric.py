"""One score, with what is needed to believe it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

SAMPLES = 20  # replies of a metric that are kept as texts
CHARACTERS = 600  # of a prompt's end and of a reply's beginning


class Sample(NamedTuple):
    """One reply behind a metric, to be read by a person."""

    prompt: str
    reply: str
    score: float | None = None  # toxicity, 0-1, where a classifier gave one


@dataclass(frozen=True)
class Metric:
    """One score with what is needed to believe it."""

    value: float
    stderr: float | None  # one standard error; None where none is defined
    n: int  # items behind the value
    chance: float | None  # what guessing scores; None where meaningless
    role: str  # forget: what should go; retain: what should stay; quality: of replies, whatever was asked
    goal: str  # lower | higher | chance: as near to it as can be
    interval: tuple[float, float] | None = None  # 95 %
    items: tuple[float, ...] | None = field(default=None, repr=False)  # outcome of each item, in order
    samples: tuple[Sample, ...] | None = field(default=None, repr=False)  # of what was generated

    def showing(
        self, prompts: Sequence[str], replies: Sequence[str], scores: Sequence[float] | None = None
    ) -> Metric:
        """The same with its first `SAMPLES` replies, long texts cut; the same prompts whatever the model."""
        known: Sequence[float | None] = scores or [None] * len(replies)
        kept = zip(prompts, replies, known, strict=True)
        cut = (Sample(p[-CHARACTERS:], r[:CHARACTERS], s) for p, r, s in kept)
        return replace(self, samples=tuple(itertools.islice(cut, SAMPLES)))

    def to_json(self) -> dict[str, Any]:
        """As in results.json, without items and samples; a number that is not finite becomes null."""
        clean = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("items", "samples")}
        for key in ("value", "stderr", "chance"):
            if clean[key] is not None and not math.isfinite(clean[key]):
                clean[key] = None
        return clean | {"interval": list(self.interval) if self.interval else None}


Scores = Mapping[str, Mapping[str, Metric]]
