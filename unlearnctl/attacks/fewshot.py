"""Prompt with examples of the same domain, never the fact that is asked (arXiv 2411.12103)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import MinLen
from pydantic import PositiveInt

from unlearnctl.attacks.base import Target, Variant

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class FewShot:
    """The suites again, with examples before each question; a task's `fewshot_split` says where they come from.

    Args:
        shots: numbers of examples; each is a variant.
    """

    asks: tuple[str, ...] = ("num_fewshot",)

    def __init__(self, shots: Annotated[list[PositiveInt], MinLen(1)]) -> None:
        self.shots = shots

    def validate(self, tokenizer: PreTrainedTokenizerBase, blocks: int) -> None:
        """Do nothing: no files are read."""

    def alterations(self) -> list[dict[str, Any]]:
        """Name the number of examples: not every task has enough of them."""
        return [{"num_fewshot": count} for count in self.shots]

    def variants(self, target: Target) -> Iterator[Variant]:
        """Yield one variant per number of examples; the model is unchanged."""
        for count, changed in zip(self.shots, self.alterations(), strict=True):
            yield Variant(f"{count}-shot", {"shots": count}, changed)
