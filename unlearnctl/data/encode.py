"""Turns texts into rows of token ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from unlearnctl.data.corpus import Corpus
from unlearnctl.data.prompted import PromptedText, check_template, prompted
from unlearnctl.data.rows import Row
from unlearnctl.data.text_store import Progress, in_chunks
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHUNK = 1024  # texts tokenised at once
PIECE = 100_000  # characters; a longer text is tokenised in parts of at least this size


@dataclass
class Lost:
    """Counts of the texts of a corpus that were left out, cut or split."""

    texts: int = 0  # all texts that were tokenised
    prompt: int = 0  # left out, because the prompt alone fills `max_length`
    nothing: int = 0  # left out, because no token is left to predict
    cut: int = 0  # lost their end
    split: int = 0  # became several rows


@dataclass
class Encoder:
    """Tokenises texts with the tokenizer's defaults, each after its prompt, if any.

    Prompt and text are tokenised together, as a model would see them. The prompt is taken to end where these tokens
    first differ from those of the prompt alone, so that a token which straddles the boundary counts as text. Texts
    with nothing left to predict are left out.

    Args:
        tokenizer: the model's tokenizer.
        max_length: the most tokens of a row.
        key: config key of the corpus, for messages.
        long: `cut` a longer text to `max_length`, or `split` it into rows, each after the same prompt.
        end: put the end token after each text, see `with_end`.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int
    key: str
    long: str = "cut"
    end: bool = False
    lost: Lost = field(default_factory=Lost)

    def all_rows(self, corpus: Corpus) -> list[Row]:
        """Tokenise a whole corpus; a row's `index` is its text's place, or with `split` its own.

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
        """Tokenise the texts at `places`, in order; a row's `index` is its text's place."""
        if corpus.turns is not None:
            check_template(self.tokenizer, self.key)
        texts = [prompted(corpus, place, self.tokenizer, self.key) for place in places]
        pieces = self._split if self.long == "split" else self._cut
        for place, text, found in zip(places, texts, pieces(texts, corpus.spans is not None), strict=True):
            kept = [piece for piece in found if piece.row.predictions > 0]
            self._count(text, found, kept)
            for piece in kept:
                spans = None
                if corpus.spans is not None:
                    shift = len(piece.text.before) - piece.text.start
                    spans = _token_spans(corpus.spans[place], shift, piece.offsets)
                # The end token closes the text: of the rows of a text that was split, only the last has it.
                closing = self.tokenizer.eos_token_id if self.end and piece is found[-1] else None
                ids = with_end(piece.row.ids, closing, self.max_length)
                yield replace(piece.row, ids=ids, index=place, spans=spans)

    def _cut(self, texts: Sequence[PromptedText], with_offsets: bool) -> Iterator[list[_Piece]]:
        """Yield one piece of each text: its beginning."""
        # Either all texts of a corpus have prompts (or turns) or none has, so the first one decides about special
        # tokens.
        given = [first_characters(self.tokenizer, text.whole, self.max_length) for text in texts]
        encoded = self._ids(
            given,
            texts[0].special,
            truncation=True,
            max_length=self.max_length,
            return_offsets_mapping=with_offsets,
        )
        # Cut where their texts were, since a huge prompt must not be tokenised as a whole either.
        prompts = [
            text.prompt and text.prompt[: len(start)] for text, start in zip(texts, given, strict=True)
        ]
        heads = self._heads(prompts, texts[0])
        for i, text in enumerate(texts):
            ids = encoded["input_ids"][i]
            more = len(given[i]) < len(text.whole) or self._overflows(encoded, i, given[i])
            offsets = encoded["offset_mapping"][i] if with_offsets else []
            yield [_Piece(Row(ids, _common(ids, heads[i]), 0), text, offsets, more)]

    def _split(self, texts: Sequence[PromptedText], with_offsets: bool) -> Iterator[list[_Piece]]:
        """Yield all pieces of each text. Each begins as the first one does, with the prompt or the tokenizer's bos.

        A very long text is tokenised in parts, because tokenising takes some fifty times a text's memory.
        """
        for text in texts:
            parts = list(text.parts(PIECE))
            encoded = self._ids(
                [part.whole for part in parts], text.special, return_offsets_mapping=with_offsets
            )
            head = self._heads([text.prompt or ""], text)[0] or self._ids([""], text.special)["input_ids"][0]
            found = []
            for place, (part, ids) in enumerate(zip(parts, encoded["input_ids"], strict=True)):
                offsets = encoded["offset_mapping"][place] if with_offsets else []
                lead = _common(ids, head)
                room = self.max_length - lead
                if room <= 0:  # the prompt leaves no room for the text
                    continue
                # Without a prompt the lead is the tokenizer's bos, which counts like any other token.
                prompt = 0 if text.prompt is None else lead
                for start in range(lead, len(ids), room):
                    own = slice(start, start + room)
                    row = Row(ids[:lead] + ids[own], prompt, 0)
                    found.append(_Piece(row, part, offsets[:lead] + offsets[own], False))
            yield found

    def _ids(self, texts: list[str], special: bool, **how: Any) -> Any:
        return self.tokenizer(texts, add_special_tokens=special, verbose=False, **how)

    def _heads(self, prompts: Sequence[str | None], first: PromptedText) -> list[list[int]]:
        """Tokenise each prompt alone; `first` tells whether texts have prompts, and special tokens, at all."""
        if first.prompt is None:
            return [[] for _ in prompts]
        heads: list[list[int]] = self._ids([p or "" for p in prompts], first.special)["input_ids"]
        return heads

    def _overflows(self, encoded: Any, place: int, text: str) -> bool:
        """Return whether a text has more tokens than were kept; slow tokenizers do not say so, and count again."""
        if len(encoded["input_ids"][place]) < self.max_length:
            return False
        if encoded.encodings:
            return bool(encoded.encodings[place].overflowing)
        return len(self.tokenizer(text, verbose=False)["input_ids"]) > self.max_length

    def _count(self, text: PromptedText, found: Sequence[_Piece], kept: Sequence[_Piece]) -> None:
        lost = self.lost
        lost.texts += 1
        if not kept:
            filled = text.prompt is not None and (not found or any(piece.more for piece in found))
            lost.prompt += filled
            lost.nothing += not filled
        lost.cut += any(piece.more for piece in kept)
        lost.split += len(kept) > 1


@dataclass(frozen=True)
class _Piece:
    """A row in the making: its text (or a part of it), its tokens' places in that, and whether the text is longer."""

    row: Row
    text: PromptedText
    offsets: list[tuple[int, int]]
    more: bool


def encode(
    corpus: Corpus, tokenizer: PreTrainedTokenizerBase, max_length: int, key: str, end: bool = False
) -> list[Row]:
    """Tokenise each text as one row, cut to `max_length`; see `Encoder`.

    Raises:
        UserError: no row is left.
    """
    return Encoder(tokenizer, max_length, key, end=end).all_rows(corpus)


def with_end(ids: list[int], end: int | None, max_length: int) -> list[int]:
    """Put the end token after a text's tokens, unless the text was cut: it does not end there."""
    return ids if end is None or len(ids) >= max_length or ids[-1] == end else [*ids, end]


def first_characters(tokenizer: PreTrainedTokenizerBase, text: str, max_length: int) -> str:
    """Cut a text to a beginning that is sure to hold its first `max_length` tokens.

    Tokenising takes some fifty times a text's memory, and a corpus may hold a whole book as one text.
    """
    size = max(PIECE, 64 * max_length)
    while size < len(text) and tokenizer.truncation_side == "right":
        # 64 more than needed, because the last tokens before a cut may come out otherwise than in the whole text.
        if len(tokenizer(text[:size], verbose=False)["input_ids"]) >= max_length + 64:
            return text[:size]
        size *= 2
    return text


def _token_spans(spans: list[list[int]], shift: int, offsets: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return the runs of tokens that overlap each span of characters, which counts from `shift`."""
    found = []
    for start, end in spans:
        hit = [t for t, (a, b) in enumerate(offsets) if a < end + shift and b > start + shift]
        if hit:
            found.append([hit[0], hit[-1] + 1])
    return found


def _common(ids: list[int], head: list[int]) -> int:
    """Return the number of tokens with which both begin."""
    count = 0
    for a, b in zip(ids, head, strict=False):
        if a != b:
            break
        count += 1
    return count
