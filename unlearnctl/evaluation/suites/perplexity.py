"""Perplexity of held-out text, each document on its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import PositiveInt

from unlearnctl.data.batch import IGNORE
from unlearnctl.data.corpus import Corpus, read_corpus
from unlearnctl.data.encode import encode
from unlearnctl.data.rows import Row, collate
from unlearnctl.data.spec import CorpusSpec
from unlearnctl.evaluation.items import Tokens
from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.results.metric import Metric
from unlearnctl.results.statistics import bootstrap

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


LARGEST = 700.0  # nats a token: a ruined model may be beyond what exp can hold


class PerplexitySuite:
    """Token and word perplexity of a corpus: exp of the mean negative log-likelihood.

    Each document is scored from its own beginning (after the tokenizer's bos) and cut to `max_length` tokens.
    The standard error treats documents as the unit, by the delta method for a ratio. The perplexity of texts that
    should be forgotten should rise; it counts in no trade-off, because it has no upper bound.

    Args:
        path, name, split, field, format, revision, limit, skip, every, min_chars: the corpus, as in `conf/data/`; with
            a `prompt_field` only what follows the prompt is scored.
        max_length: tokens.
        batch_size: documents at once.
        prefix: of the metric names, e.g. "narrative" → narrative_ppl.
        role: forget or retain.
        words: also give the perplexity per white-space word.
    """

    def __init__(
        self,
        path: str,
        max_length: Tokens = 512,
        batch_size: PositiveInt = 16,
        prefix: str = "",
        words: bool = True,
        role: Literal["forget", "retain"] = "retain",
        key: str = "eval.perplexity",
        **corpus: object,
    ) -> None:
        self.spec = CorpusSpec.from_config({"path": path, **corpus}, key, splits=False)
        self.max_length, self.batch_size, self.words, self.key = max_length, batch_size, words, key
        self.role = role
        self.prefix = f"{prefix}_" if prefix else ""
        self._corpus: Corpus | None = None

    @property
    def corpus(self) -> Corpus:
        """The texts, read once."""
        if self._corpus is None:
            self._corpus = read_corpus(self.spec, self.key)
        return self._corpus

    def validate(self) -> None:
        """Check that the corpus can be read."""
        assert self.corpus

    def run(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, answers: Answers
    ) -> dict[str, Metric]:
        """Compute ppl, and word_ppl if asked for; n counts documents."""
        rows = encode(self.corpus, tokenizer, self.max_length, self.key)
        nll = answers.all(
            "document nll",
            [[row.ids, row.prompt] for row in rows],
            lambda places: document_nll(model, rows, places, self.batch_size),
            cost=lambda place: len(rows[place].ids),
        )
        words = scored_words(tokenizer, rows, self.corpus.texts, self.max_length)
        tokens = [row.predictions for row in rows]
        found = {f"{self.prefix}ppl": perplexity(nll, tokens, self.role)}
        if self.words:
            found[f"{self.prefix}word_ppl"] = perplexity(nll, words, self.role)
        return found


def document_nll(
    model: PreTrainedModel, rows: Sequence[Row], places: Sequence[int], batch_size: int
) -> Iterator[tuple[int, float]]:
    """Yield (place, summed negative log-likelihood in nats of what follows its prompt) of the rows at `places`."""
    import torch

    for start in range(0, len(places), batch_size):
        here = places[start : start + batch_size]
        batch = collate([rows[place] for place in here], 0, "right", 1, 1, 1, 0).to(model.device)
        logits = (
            model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False)
            .logits[:, :-1]
            .float()
        )
        losses = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), batch.labels[:, 1:], reduction="none", ignore_index=IGNORE
        )
        yield from zip(here, losses.sum(-1).double().tolist(), strict=True)


def scored_words(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], texts: Sequence[str], max_length: int
) -> list[int]:
    """Count white-space words per row, in the scored part only: a cut document counts what was seen."""
    seen = [
        str(tokenizer.decode(row.ids, skip_special_tokens=True))
        if len(row.ids) >= max_length
        else texts[row.index]
        for row in rows
    ]
    return [max(1, len(text.split())) for text in seen]


def perplexity(nll: Sequence[float], units: Sequence[int], role: str = "retain") -> Metric:
    """Return exp(Σ nll / Σ units), its delta-method standard error and bootstrap interval over documents.

    The items are the documents' mean log-likelihoods per unit.
    """
    pairs = np.array([(s, u) for s, u in zip(nll, units, strict=True) if u > 0])
    n, total = len(pairs), pairs[:, 1].sum()
    mean = pairs[:, 0].sum() / total
    value = math.exp(min(mean, LARGEST))
    spread = ((pairs[:, 0] - mean * pairs[:, 1]) ** 2).sum()
    stderr = float(value * math.sqrt(spread * n / (n - 1)) / total) if n > 1 else None
    interval = bootstrap(
        pairs, lambda drawn: np.exp(np.minimum(drawn[:, 0].sum(-1) / drawn[:, 1].sum(-1), LARGEST))
    )
    items = tuple((pairs[:, 0] / pairs[:, 1]).tolist())
    goal = "higher" if role == "forget" else "lower"
    return Metric(value, stderr, n, None, role, goal, interval, items)
