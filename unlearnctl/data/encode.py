"""Text to token ids, and rows to padded tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from unlearnctl.data.batch import IGNORE, Batch
from unlearnctl.data.corpus import Corpus
from unlearnctl.data.prompted import PromptedText, check_template, prompted
from unlearnctl.data.text_store import Progress, in_chunks
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHUNK = 1024  # texts tokenised at once
PIECE = 100_000  # characters of a longer text that are tokenised at once, at least


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


@dataclass
class Lost:
    """What became of the texts of a corpus that were too long."""

    texts: int = 0  # that were tokenised
    prompt: int = 0  # left out: the prompt fills `max_length`
    nothing: int = 0  # left out: no token to predict
    cut: int = 0  # lost their end
    split: int = 0  # came to several pieces


@dataclass
class Encoder:
    """Tokenises texts as the tokenizer does by default, each after its prompt, if any.

    The prompt ends where the prompt alone, tokenised, stops agreeing with prompt and text together, so that a
    token that straddles the boundary counts. Texts with nothing left to predict are left out.

    Args:
        max_length: tokens of a row.
        long: `cut` a longer text to `max_length`, or `split` it into rows, each after the same prompt.
        end: the end token closes each text, see `with_end`.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int
    key: str
    long: str = "cut"
    end: bool = False
    lost: Lost = field(default_factory=Lost)

    def all(self, corpus: Corpus) -> list[Row]:
        """Every row of a corpus; `index` is the text's place, or with `split` the row's.

        Raises:
            UserError: no row is left, or the corpus holds conversations and the tokenizer has no chat template.
        """
        rows: list[Row] = []
        progress = Progress(f"{self.key}: {{count}} of {len(corpus.texts):,} texts tokenised")
        for places in in_chunks(range(len(corpus.texts)), CHUNK):
            rows += self.rows(corpus, places)
            progress.at(places[-1] + 1)
        if not rows:
            raise UserError(
                f"{self.key}: no row has a token to learn from within max_length={self.max_length}"
            )
        return [replace(row, index=i) for i, row in enumerate(rows)] if self.long == "split" else rows

    def rows(self, corpus: Corpus, places: Sequence[int]) -> Iterator[Row]:
        """The rows of the texts at `places`, in order; `index` is the place."""
        if corpus.turns is not None:
            check_template(self.tokenizer, self.key)
        texts = [prompted(corpus, place, self.tokenizer, self.key) for place in places]
        pieces = self._split if self.long == "split" else self._cut
        told = corpus.spans is not None
        for place, text, found in zip(places, texts, pieces(texts, told), strict=True):
            kept = [each for each in found if each.row.predictions > 0]
            self._count(text, found, kept)
            for each in kept:
                spans = None
                if corpus.spans is not None:
                    spans = _token_spans(
                        corpus.spans[place], len(each.text.before) - each.text.start, each.offsets
                    )
                closing = self.tokenizer.eos_token_id if self.end and each is found[-1] else None
                ids = with_end(each.row.ids, closing, self.max_length)
                yield replace(each.row, ids=ids, index=place, spans=spans)

    def _cut(self, texts: Sequence[PromptedText], told: bool) -> Iterator[list[_Piece]]:
        """One piece of each text: its beginning."""
        given = [enough(self.tokenizer, text.whole, self.max_length) for text in texts]
        encoded = self._ids(
            given, texts[0].special, truncation=True, max_length=self.max_length, return_offsets_mapping=told
        )
        heads = self._heads(
            [t.prompt and t.prompt[: len(g)] for t, g in zip(texts, given, strict=True)], texts[0]
        )
        for i, text in enumerate(texts):
            ids = encoded["input_ids"][i]
            more = len(given[i]) < len(text.whole) or self._overflows(encoded, i, given[i])
            offsets = encoded["offset_mapping"][i] if told else []
            yield [_Piece(Row(ids, _common(ids, heads[i]), 0), text, offsets, more)]

    def _split(self, texts: Sequence[PromptedText], told: bool) -> Iterator[list[_Piece]]:
        """All pieces of each text, each after what the first one begins with: the prompt, or the tokenizer's bos."""
        for text in texts:
            parts = list(text.parts(PIECE))
            encoded = self._ids([part.whole for part in parts], text.special, return_offsets_mapping=told)
            head = self._heads([text.prompt or ""], text)[0] or self._ids([""], text.special)["input_ids"][0]
            found = []
            for place, (part, ids) in enumerate(zip(parts, encoded["input_ids"], strict=True)):
                offsets = encoded["offset_mapping"][place] if told else []
                lead = _common(ids, head)
                room = self.max_length - lead
                prompt = 0 if text.prompt is None else lead
                for start in range(lead, len(ids), room) if room > 0 else ():
                    own = slice(start, start + room)
                    row = Row(ids[:lead] + ids[own], prompt, 0)
                    found.append(_Piece(row, part, offsets[:lead] + offsets[own], False))
            yield found

    def _ids(self, texts: list[str], special: bool, **how: Any) -> Any:
        return self.tokenizer(texts, add_special_tokens=special, verbose=False, **how)

    def _heads(self, prompts: Sequence[str | None], first: PromptedText) -> list[list[int]]:
        if first.prompt is None:
            return [[] for _ in prompts]
        heads: list[list[int]] = self._ids([p or "" for p in prompts], first.special)["input_ids"]
        return heads

    def _overflows(self, encoded: Any, place: int, text: str) -> bool:
        if len(encoded["input_ids"][place]) < self.max_length:
            return False
        if encoded.encodings:
            return bool(encoded.encodings[place].overflowing)
        return len(self.tokenizer(text, verbose=False)["input_ids"]) > self.max_length

    def _count(self, text: PromptedText, found: Sequence[_Piece], kept: Sequence[_Piece]) -> None:
        lost, filled = self.lost, not found or any(piece.more for piece in found)
        lost.texts += 1
        if not kept:
            lost.prompt += text.prompt is not None and filled
            lost.nothing += not (text.prompt is not None and filled)
        lost.cut += any(piece.more for piece in kept)
        lost.split += len(kept) > 1


@dataclass(frozen=True)
class _Piece:
    """A row in the making: of which (part of a) text, where its tokens stand in it, and whether it goes on."""

    row: Row
    text: PromptedText
    offsets: list[tuple[int, int]]
    more: bool


def encode(
    corpus: Corpus, tokenizer: PreTrainedTokenizerBase, max_length: int, key: str, end: bool = False
) -> list[Row]:
    """Each text as one row, cut to `max_length`; see `Encoder`.

    Raises:
        UserError: no row is left.
    """
    return Encoder(tokenizer, max_length, key, end=end).all(corpus)


def with_end(ids: list[int], end: int | None, max_length: int) -> list[int]:
    """The text's tokens and the end token after them; not after a text that was cut, for it does not end there."""
    return ids if end is None or len(ids) >= max_length or ids[-1] == end else [*ids, end]


def enough(tokenizer: PreTrainedTokenizerBase, text: str, max_length: int) -> str:
    """As much of a text as its first `max_length` tokens need: tokenising takes fifty times a text's memory."""
    size = max(PIECE, 64 * max_length)
    while size < len(text) and tokenizer.truncation_side == "right":
        if len(tokenizer(text[:size], verbose=False)["input_ids"]) >= max_length + 64:
            return text[:size]
        size *= 2
    return text


def _token_spans(spans: list[list[int]], shift: int, offsets: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Runs of tokens that overlap a span of characters, which counts from `shift` on."""
    found = []
    for start, end in spans:
        hit = [t for t, (a, b) in enumerate(offsets) if a < end + shift and b > start + shift]
        if hit:
            found.append([hit[0], hit[-1] + 1])
    return found


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
