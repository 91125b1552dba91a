"""What became of a corpus' rows: nothing is left out or cut without a number."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from unlearnctl.data.corpus import Corpus, Read
from unlearnctl.data.encode import Lost
from unlearnctl.data.spec import CorpusSpec


@dataclass
class Counts:
    """Of one corpus: what reading and what tokenising left."""

    key: str
    spec: CorpusSpec
    max_length: int
    read: Read
    lost: Lost
    rows: int
    unpaired: int = 0  # forget rows without anything to put in their place
    late: bool = False  # tokenised as its rows are drawn: what tokenising leaves is known of some texts
    shared: int = 0  # texts of the retain side that are to be forgotten too

    def record(self) -> dict[str, Any]:
        """The corpus' part of results.json."""
        whose = f"{self.key}." if self.spec.max_length else "data."
        short = f"shorter than {self.key}.min_chars={self.spec.min_chars}"
        reasons = {
            f"not of {self.key}.where": self.read.where,
            short if self.spec.min_chars > 1 else "empty": self.read.short,
            f"prompt longer than {whose}max_length={self.max_length}": self.lost.prompt,
            "no token to learn from": self.lost.nothing,
            "nothing to put in their place": self.unpaired,
        }
        return {
            "read": self.read.rows or self.lost.texts,
            **({"looked_at": self.lost.texts} if self.late else {}),
            "left_out": {reason: count for reason, count in reasons.items() if count},
            "texts": self.lost.texts - self.lost.prompt - self.lost.nothing - self.unpaired,
            "cut": self.lost.cut,
            "split": self.lost.split,
            "rows": self.rows - self.unpaired,
            "max_length": self.max_length,
            **({"shared": self.shared} if self.shared else {}),
        }


def shared(forget: Corpus, retain: Corpus) -> int:
    """How many texts of the retain side are forget texts, after the same prompt."""
    if forget.large or retain.large:
        return 0
    known = set(_keys(forget))
    return sum(key in known for key in _keys(retain))


def _keys(corpus: Corpus) -> Iterator[tuple[object, str]]:
    before = corpus.prompts or map(json.dumps, corpus.turns or [])
    return (
        zip(before, corpus.texts, strict=True)
        if corpus.prompts or corpus.turns
        else zip(repeat(None), corpus.texts)
    )
