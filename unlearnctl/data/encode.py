"""Text to token ids, and rows to padded tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from unlearnctl.data.batch import IGNORE, Batch
from unlearnctl.data.readers import Corpus
from unlearnctl.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Row:
    """Token ids of one text; the first `prompt` of them do not count."""

    ids: list[int]
    prompt: int
    index: int
    spans: list[list[int]] | None = None  # [start, end) of the tokens that truly matter, where that is known

    @property
    def predictions(self) -> int:
        """Tokens that count and have a predecessor."""
        return len(self.ids) - max(self.prompt, 1)


def encode(
    corpus: Corpus, tokenizer: PreTrainedTokenizerBase, max_length: int, key: str, end: bool = False
) -> list[Row]:
    """Tokenise each text (after its prompt, if any) as the tokenizer does by default, cut to `max_length`.

    The prompt ends where the prompt alone, tokenised, stops agreeing with prompt and text together, so that a
    token that straddles the boundary counts. Rows with nothing left to predict are dropped. `end`: the end token
    closes each row, see `with_end`.

    Raises:
        UserError: no row is left.
    """
    joined = corpus.texts
    heads: list[list[int]] = [[] for _ in joined]
    if corpus.prompts is not None:
        joined = [_join(p, t) for p, t in zip(corpus.prompts, corpus.texts, strict=True)]
        heads = tokenizer(corpus.prompts)["input_ids"]
    told = corpus.spans is not None
    encoded = tokenizer(joined, truncation=True, max_length=max_length, return_offsets_mapping=told)
    pairs = zip(encoded["input_ids"], heads, strict=True)
    rows = [Row(ids, _common(ids, head), i) for i, (ids, head) in enumerate(pairs)]
    if corpus.spans is not None:
        rows = [
            replace(row, spans=_token_spans(corpus.spans[i], len(joined[i]) - len(corpus.texts[i]), offsets))
            for i, (row, offsets) in enumerate(zip(rows, encoded["offset_mapping"], strict=True))
        ]
    rows = [row for row in rows if row.predictions > 0]
    if not rows:
        raise UserError(f"{key}: no row has a token to learn from within max_length={max_length}")
    if end:
        rows = [replace(row, ids=with_end(row.ids, tokenizer.eos_token_id, max_length)) for row in rows]
    return rows


def with_end(ids: list[int], end: int | None, max_length: int) -> list[int]:
    """The text's tokens and the end token after them; not after a text that was cut, for it does not end there."""
    return ids if end is None or len(ids) >= max_length or ids[-1] == end else [*ids, end]


def _token_spans(spans: list[list[int]], shift: int, offsets: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Runs of tokens that overlap a span of characters, which counts from `shift` on."""
    found = []
    for start, end in spans:
        hit = [t for t, (a, b) in enumerate(offsets) if a < end + shift and b > start + shift]
        if hit:
            found.append([hit[0], hit[-1] + 1])
    return found


def _join(prompt: str, text: str) -> str:
    return prompt + text if not prompt or prompt[-1].isspace() or text[:1].isspace() else f"{prompt} {text}"


def _common(ids: list[int], head: list[int]) -> int:
    count = 0
    for a, b in zip(ids, head, strict=False):
        if a != b:
            break
        count += 1
    return count


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
    """Pad to the longest of `rows`; the counts are the global batch's."""
    width = max(len(row.ids) for row in rows)
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
