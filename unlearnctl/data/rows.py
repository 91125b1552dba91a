"""Rows of token ids, and the padded tensors made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from unlearnctl.data.batch import IGNORE, Batch


@dataclass(frozen=True)
class Row:
    """The token ids of one text; the first `prompt` of them do not count in the loss."""

    ids: list[int]
    prompt: int
    index: int
    spans: list[list[int]] | None = None  # [start, end) of the tokens that truly matter, if known

    @property
    def predictions(self) -> int:
        """Return the number of tokens that count and have a predecessor to predict them."""
        return len(self.ids) - max(self.prompt, 1)


def collate(
    rows: Sequence[Row],
    pad_id: int,
    side: str,
    tokens: int,
    predictions: int,
    sequences: int,
    topic: int,
    corpus: str = "",
) -> Batch:
    """Pad rows to the longest of them; the counts are those of the global batch."""
    width = max(len(row.ids) for row in rows)
    # The mask cannot be found from the ids, since the padding token may be the end token.
    ids = torch.full((len(rows), width), pad_id)
    attention = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):
        start = 0 if side == "right" else width - len(row.ids)
        ids[i, start : start + len(row.ids)] = torch.tensor(row.ids)
        attention[i, start : start + len(row.ids)] = 1
        mask[i, start + row.prompt : start + len(row.ids)] = True
    return Batch(
        input_ids=ids,
        attention_mask=attention,
        labels=torch.where(mask, ids, IGNORE),
        mask=mask,
        index=torch.tensor([row.index for row in rows]),
        tokens=tokens,
        predictions=predictions,
        sequences=sequences,
        topic=topic,
        corpus=corpus,
    )
