"""Put text before the question: fixed jailbreak prefixes, and one found by gradients (arXiv 2411.12103, 2307.15043)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt

from unlearnctl.attacks.base import Target, Texts, Variant
from unlearnctl.attacks.prefix_search import search
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.validate import read

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

KEY = "attack.prefix"


@dataclass(frozen=True)
class Budget:
    """Limits of the search: tokens, rounds, substitutions scored per round, and facts they are scored on."""

    # Questions in `prompt_field`, right answers in `field`: none may be asked afterwards
    corpus: Mapping[str, Any]
    length: PositiveInt = 8
    rounds: PositiveInt = 20
    candidates: PositiveInt = 16
    top_k: PositiveInt = 32
    facts: PositiveInt = 24


class Prefix:
    """The suites again, with a text before each question.

    Args:
        texts: fixed prefixes; each is a variant.
        search: see `Budget`; None: no search.
        max_length: longest question with its answer, in tokens.
    """

    asks: tuple[str, ...] = ("prefix",)

    def __init__(
        self, texts: list[str], search: Mapping[str, Any] | None = None, max_length: PositiveInt = 128
    ) -> None:
        if not texts and search is None:
            raise UserError(f"{KEY}.texts=[]: give a prefix, or a search")
        if not all(text.strip() for text in texts):
            raise UserError(f"{KEY}.texts={texts}: each must be a text, not empty")
        self.texts, self.max_length = texts, max_length
        self.budget = None if search is None else read(Budget, f"{KEY}.search", search)

    def validate(self, tokenizer: PreTrainedTokenizerBase, blocks: int) -> None:
        """Read the facts that the search uses."""
        if self.budget is None:
            return
        key = f"{KEY}.search.corpus"
        found = Texts.read(self.budget.corpus, key, tokenizer, self.max_length)
        if found.corpus.prompts is None:
            raise UserError(
                f"{key}.prompt_field=null: must name the field of the question; `field` is its answer"
            )
        self.facts = replace(found, rows=found.rows[: self.budget.facts])

    def variants(self, target: Target) -> Iterator[Variant]:
        """Yield one variant per text, then the prefix that the search found; the model is unchanged."""
        for text in self.texts:
            yield Variant(f"“{_short(text)}”", {"prefix": text}, {"prefix": text})
        if self.budget is not None:
            budget = self.budget
            text, losses = search(
                target, self.facts, budget.length, budget.rounds, budget.candidates, budget.top_k
            )
            settings = {"prefix": text, "search": True, "nll_before": losses[0], "nll_after": losses[-1]}
            yield Variant(f"searched “{_short(text)}”", settings, {"prefix": text})


def _short(text: str) -> str:
    return text if len(text) <= 24 else f"{text[:23]}…"
