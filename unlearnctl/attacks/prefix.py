"""Put text before the question: fixed jailbreak prefixes, and one found by gradients (arXiv 2411.12103, 2307.15043)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from unlearnctl.attacks.base import Target, Texts, Variant, require
from unlearnctl.attacks.prefix_search import search
from unlearnctl.utils.errors import UserError, unknown_key

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

KEY = "attack.prefix"


@dataclass(frozen=True)
class Budget:
    """Limits of the search: tokens, rounds, substitutions scored per round, and facts they are scored on."""

    corpus: Any  # questions in `prompt_field`, right answers in `field`; none may be asked afterwards
    length: int = 8
    rounds: int = 20
    candidates: int = 16
    top_k: int = 32
    facts: int = 24


class Prefix:
    """The suites again, with a text before each question.

    Args:
        texts: fixed prefixes; each is a variant.
        search: see `Budget`; None: no search.
        max_length: longest question with its answer, in tokens.
    """

    asks: tuple[str, ...] = ("prefix",)

    def __init__(
        self, texts: list[str], search: Mapping[str, Any] | None = None, max_length: int = 128
    ) -> None:
        if not texts and search is None:
            raise UserError(f"{KEY}.texts=[]: give a prefix, or a search")
        empty = [text for text in texts if not isinstance(text, str) or not text.strip()]
        if empty:
            raise UserError(f"{KEY}.texts={texts}: each must be a text, not empty")
        self.texts, self.max_length = texts, max_length
        self.budget = None if search is None else _budget(search)

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


def _budget(cfg: Mapping[str, Any]) -> Budget:
    known = [name for name in Budget.__dataclass_fields__ if name != "corpus"]
    for name in cfg:
        if name not in Budget.__dataclass_fields__:
            raise unknown_key(f"{KEY}.search", name, Budget.__dataclass_fields__)
    if not isinstance(cfg.get("corpus"), Mapping):
        raise UserError(f"{KEY}.search.corpus={cfg.get('corpus')}: must be a corpus: a mapping with a path")
    budget = Budget(**cfg)
    for name in known:
        require(f"{KEY}.search.{name}", getattr(budget, name), int, 1, "a whole number, 1 or more")
    return budget


def _short(text: str) -> str:
    return text if len(text) <= 24 else f"{text[:23]}…"
