"""Counts what became of a corpus's rows, so that nothing is left out or cut silently."""

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
    """What reading and tokenising did to the rows of one corpus."""

    key: str
    spec: CorpusSpec
    max_length: int
    read: Read
    lost: Lost
    rows: int
    unpaired: int = 0  # forget rows that lack an alternative
    lazy: bool = (
        False  # tokenised as rows are drawn, so the effect of tokenising is known for some texts only
    )
    shared: int = 0  # retain texts that are forget texts too

    def record(self) -> dict[str, Any]:
        """Return the corpus's entry of results.json."""
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
            **({"looked_at": self.lost.texts} if self.lazy else {}),
            "left_out": {reason: count for reason, count in reasons.items() if count},
            "texts": self.lost.texts - self.lost.prompt - self.lost.nothing - self.unpaired,
            "cut": self.lost.cut,
            "split": self.lost.split,
            "rows": self.rows - self.unpaired,
            "max_length": self.max_length,
            **({"shared": self.shared} if self.shared else {}),
        }


def shared(forget: Corpus, retain: Corpus) -> int:
    """Count the retain texts that are forget texts too, after the same prompt."""
    if forget.large or retain.large:
        return 0
    known = set(_keys(forget))
    return sum(key in known for key in _keys(retain))


def _keys(corpus: Corpus) -> Iterator[tuple[object, str]]:
    if corpus.prompts:
        return zip(corpus.prompts, corpus.texts, strict=True)
    if corpus.turns:
        return zip(map(json.dumps, corpus.turns), corpus.texts, strict=True)
    return zip(repeat(None), corpus.texts)
