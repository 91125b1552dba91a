"""How probable a model finds texts of a run's own corpora: a fine-grained measure that needs no questions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from unlearnctl.data.rows import Row
from unlearnctl.data.sampler import indices
from unlearnctl.data.streams import SIDES, ForgetRetain
from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.evaluation.suites.perplexity import document_nll
from unlearnctl.results.metric import Metric
from unlearnctl.results.statistics import mean

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TEXTS = 16  # of each side
BATCH = 8


class OwnTexts:
    """`forget_prob` and `retain_prob`: the mean over texts of `exp(Σ_t log p(x_t | x_<t) / T)`, ours.

    That is the probability of a typical token (the geometric mean over a text), so a few improbable tokens do not
    decide, and a ruined text counts as 0 and not as minus infinity. Guessing among the V tokens of the vocabulary
    scores 1/V. Of a text with a prompt, what follows the prompt counts.

    The texts are those that training reaches last: held out, unless a run goes through a whole corpus.

    Args:
        data: of the run.
        vocabulary: number of tokens, V.
        texts: of each side, topics taking equal shares.
    """

    def __init__(self, data: ForgetRetain, vocabulary: int, texts: int = TEXTS) -> None:
        self.rows = {side: last_rows(data, side, texts) for side in SIDES}
        self.chance = 1 / vocabulary

    def validate(self) -> None:
        """Check nothing: the texts have been read."""

    def run(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, answers: Answers
    ) -> dict[str, Metric]:
        """Score the texts of both sides; n counts texts."""
        return {
            f"{side}_prob": mean(
                self._probabilities(model, rows, answers),
                side,
                "lower" if side == "forget" else "higher",
                self.chance,
            )
            for side, rows in self.rows.items()
        }

    def _probabilities(self, model: PreTrainedModel, rows: Sequence[Row], answers: Answers) -> list[float]:
        nll = answers.all(
            "text nll",
            [[row.ids, row.prompt] for row in rows],
            lambda places: document_nll(model, rows, places, BATCH),
            cost=lambda place: len(rows[place].ids),
        )
        return [math.exp(-lost / row.predictions) for lost, row in zip(nll, rows, strict=True)]


def last_rows(data: ForgetRetain, side: str, texts: int) -> list[Row]:
    """Return up to `texts` rows of a side, those that the first pass reaches last, topics taking equal shares."""
    share, found = -(-texts // len(data.topics)), []
    for topic in data.topics:
        rows = data.rows[side][topic]
        count = min(share, len(rows))
        places = indices(len(rows), data.seed, f"{side}/{topic}", len(rows) - count, count, data.shuffle)
        found += [row for row in (rows[place] for place in places) if row.predictions > 0]
    return found
