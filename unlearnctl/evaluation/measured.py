"""Score a base model with other tensors put in, one set after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from unlearnctl.evaluation.cache import Scores, cached_evaluate, kept_answers
from unlearnctl.evaluation.evaluate import evaluate
from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.models.delta import applied, digest

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Suites = Mapping[str, Any]


@dataclass
class Measured:
    """Scores of the base model and of it with other tensors put in; answers are kept until results.json is written."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    identity: str  # of the base model
    asked: Mapping[str, Any]  # settings of the suites
    kept: list[Answers] = field(default_factory=list)

    def base(self, suites: Suites) -> Scores:
        """Score the base model; its scores may come from the cache."""
        run = partial(evaluate, suites, self.model, self.tokenizer)
        return cached_evaluate(self.identity, self.asked, lambda answers: run(answers=answers))

    def __call__(
        self, tensors: Mapping[str, Tensor], suites: Suites, more: Mapping[str, Any] | None = None
    ) -> Scores:
        """Score the base model with `tensors`; `more` settings keep answers to other items apart."""
        answers = kept_answers(f"{self.identity} {digest(tensors)}", {**self.asked, **(more or {})})
        self.kept.append(answers)
        with applied(self.model, tensors):
            return evaluate(suites, self.model, self.tokenizer, answers=answers)

    def forget_answers(self) -> None:
        """Remove the kept answers: the scores are in results.json."""
        for answers in self.kept:
            answers.forget()
