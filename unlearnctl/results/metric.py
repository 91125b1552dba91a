"""A score, and what a reader needs to believe it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

SAMPLES = 20  # replies of a metric that are kept as texts
CHARACTERS = 600  # kept from the end of a prompt and from the beginning of a reply


class Sample(NamedTuple):
    """One reply behind a metric, for a person to read."""

    prompt: str
    reply: str
    score: float | None = None  # toxicity, 0-1, if a classifier judged it
    expected: str | None = None  # the right answer, of a multiple-choice question


@dataclass(frozen=True)
class Metric:
    """One score, and what a reader needs to believe it."""

    value: float
    stderr: float | None  # one standard error; None if undefined
    n: int  # items behind the value
    chance: float | None  # what guessing scores; None if meaningless
    role: str  # forget: should be lost; retain: should be kept; quality: of replies, whatever the question
    goal: str  # lower | higher | chance: as close to chance as possible
    interval: tuple[float, float] | None = None  # 95 %
    items: tuple[float, ...] | None = field(default=None, repr=False)  # outcome of each item, in order
    samples: tuple[Sample, ...] | None = field(default=None, repr=False)  # generated text

    def showing(
        self, prompts: Sequence[str], replies: Sequence[str], scores: Sequence[float] | None = None
    ) -> Metric:
        """Return a copy with the first `SAMPLES` replies, long texts cut; the prompts are the same for every model."""
        known: Sequence[float | None] = scores or [None] * len(replies)
        kept = zip(prompts, replies, known, strict=True)
        cut = (Sample(p[-CHARACTERS:], r[:CHARACTERS], s) for p, r, s in kept)
        return replace(self, samples=tuple(itertools.islice(cut, SAMPLES)))

    def answering(self, questions: Sequence[str], replies: Sequence[str], expected: Sequence[str]) -> Metric:
        """Return a copy with the replies to its first questions, beside the right answers."""
        each = zip(questions, replies, expected, strict=True)
        cut = (Sample(q[-CHARACTERS:], r[:CHARACTERS], None, e[:CHARACTERS]) for q, r, e in each)
        return replace(self, samples=tuple(cut))

    def to_json(self) -> dict[str, Any]:
        """Return what results.json holds: no items, no samples, and null for a number that is not finite."""
        clean = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("items", "samples")}
        for key in ("value", "stderr", "chance"):
            if clean[key] is not None and not math.isfinite(clean[key]):
                clean[key] = None
        return clean | {"interval": list(self.interval) if self.interval else None}


Scores = Mapping[str, Mapping[str, Metric]]
