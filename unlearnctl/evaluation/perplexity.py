"""Perplexity of held-out text, each document on its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from unlearnctl.data.batch import IGNORE
from unlearnctl.data.encode import Row, collate, encode
from unlearnctl.data.readers import Corpus, read_corpus
from unlearnctl.data.spec import CorpusSpec
from unlearnctl.evaluation.record import Metric

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class PerplexitySuite:
    """Token and word perplexity of a corpus: exp of the mean negative log-likelihood.

    Each document is scored from its own beginning (after the tokenizer's bos) and cut to `max_length` tokens.
    The standard error treats documents as the unit, by the delta method for a ratio.

    Args:
        path, name, split, field, format, revision, limit, min_chars: the corpus, as in `conf/data/`; with a
            `prompt_field` only what follows the prompt is scored.
        max_length: tokens.
        batch_size: documents at once.
        prefix: of the metric names, e.g. "narrative" → narrative_ppl.
        words: also give the perplexity per white-space word.
    """

    def __init__(
        self, path: str, max_length: int = 512, batch_size: int = 16, prefix: str = "", words: bool = True,
        key: str = "eval.perplexity", **corpus: object,
    ) -> None:  # fmt: skip
        self.spec = CorpusSpec.from_config({"path": path, **corpus}, key)
        self.max_length, self.batch_size, self.words, self.key = max_length, batch_size, words, key
        self.prefix = f"{prefix}_" if prefix else ""
        self._corpus: Corpus | None = None

    @property
    def corpus(self) -> Corpus:
        """The texts, read once."""
        if self._corpus is None:
            self._corpus = read_corpus(self.spec, self.key)
        return self._corpus

    def validate(self) -> None:
        """The corpus can be read."""
        assert self.corpus

    def run(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, Metric]:
        """ppl, and word_ppl if asked for; n counts documents."""
        rows = encode(self.corpus, tokenizer, self.max_length, self.key)
        nll, words = document_nll(model, tokenizer, rows, self.corpus.texts, self.max_length, self.batch_size)
        tokens = [row.predictions for row in rows]
        found = {f"{self.prefix}ppl": perplexity(nll, tokens)}
        if self.words:
            found[f"{self.prefix}word_ppl"] = perplexity(nll, words)
        return found


def document_nll(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    texts: Sequence[str],
    max_length: int,
    batch_size: int,
) -> tuple[list[float], list[int]]:
    """Per row: summed negative log-likelihood in nats of what follows its prompt, and white-space words.

    Words are those of the part that was scored, so a cut document counts only what was seen.
    """
    import torch

    order = sorted(range(len(rows)), key=lambda i: -len(rows[i].ids))
    nll, words = [0.0] * len(rows), [0] * len(rows)
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        some = [rows[place] for place in places]
        batch = collate(some, 0, "right", 1, 1, 1, 0).to(model.device)
        logits = model(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False
        ).logits[:, :-1].float()  # fmt: skip
        losses = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), batch.labels[:, 1:], reduction="none", ignore_index=IGNORE
        )
        for place, row, value in zip(places, some, losses.sum(-1).double().tolist(), strict=True):
            cut = len(row.ids) >= max_length
            seen = str(tokenizer.decode(row.ids, skip_special_tokens=True)) if cut else texts[row.index]
            nll[place], words[place] = value, max(1, len(seen.split()))
    return nll, words


def perplexity(nll: Sequence[float], units: Sequence[int]) -> Metric:
    """exp(Σ nll / Σ units) with its delta-method standard error over documents."""
    pairs = [(s, u) for s, u in zip(nll, units, strict=True) if u > 0]
    n, total = len(pairs), sum(u for _, u in pairs)
    mean = sum(s for s, _ in pairs) / total
    value = math.exp(mean)
    spread = sum((s - mean * u) ** 2 for s, u in pairs)
    stderr = value * math.sqrt(spread * n / (n - 1)) / total if n > 1 else None
    return Metric(value, stderr, n, None, "retain", "lower")
