"""Tokenises a large corpus as its rows are drawn, since tokenising all of it first could take hours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import overload

from unlearnctl.data.corpus import Corpus
from unlearnctl.data.encode import Encoder
from unlearnctl.data.rows import Row
from unlearnctl.utils.errors import UserError

LOOKED_AT = 256  # texts, evenly spread, that are tokenised before training, to find mistakes early
KEPT = 4096  # rows that stay tokenised in memory


class LazyRows(Sequence[Row]):
    """The rows of a large corpus, tokenised when they are drawn.

    A text with nothing to learn from is replaced by the next that has something. To leave it out instead, as for a
    small corpus, all texts would have to be tokenised before the first step.

    Raises:
        UserError: none of the texts looked at has a token to learn from.
    """

    def __init__(self, encoder: Encoder, corpus: Corpus) -> None:
        self.encoder, self.corpus = encoder, corpus
        # Made for each object, because a cache on the class would keep every corpus alive.
        self.row = lru_cache(KEPT)(self._row)
        step = -(-len(corpus.texts) // LOOKED_AT)
        looked_at = [list(encoder.rows(corpus, [at])) for at in range(0, len(corpus.texts), step)]
        if not any(looked_at):
            raise UserError(
                f"{encoder.key}: no row has a token to learn from within max_length={encoder.max_length}"
            )

    def __len__(self) -> int:
        return len(self.corpus.texts)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        places = range(len(self))[place]
        return self.row(places) if isinstance(places, int) else [self.row(each) for each in places]

    def _row(self, place: int) -> Row:
        for later in range(len(self)):
            if row := next(self.encoder.rows(self.corpus, [(place + later) % len(self)]), None):
                return row
        raise AssertionError("the constructor found at least one row")
