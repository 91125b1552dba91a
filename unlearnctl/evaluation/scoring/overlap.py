"""ROUGE-L (Lin 2004) of replies, by the rouge-score library."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stderr


def rouge_l(truths: Sequence[str], replies: Sequence[str], part: str, stemmer: bool) -> list[float]:
    """Measure the longest common subsequence of words, as `part` = recall (share of the truth's words) or fmeasure.

    An empty reply scores 0. Words are lower-cased; with `stemmer`, Porter-stemmed.
    """
    # its logging library keeps what stderr is at import, and closes that when logging is configured again
    with redirect_stderr(io.StringIO()):
        from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=stemmer)
    return [
        float(getattr(scorer.score(truth, reply)["rougeL"], part))
        for truth, reply in zip(truths, replies, strict=True)
    ]
