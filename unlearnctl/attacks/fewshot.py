"""Prompt with examples of the same domain, never the fact that is asked (arXiv 2411.12103)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from unlearnctl.attacks.base import Target, Variant, require_list

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class FewShot:
    """The suites again, with examples before each question; a task's `fewshot_split` says where they come from.

    Args:
        shots: numbers of examples; each is a variant.
    """

    asks: tuple[str, ...] = ("num_fewshot",)

    def __init__(self, shots: list[int]) -> None:
        require_list("attack.fewshot.shots", shots, int, 1, "a whole number, 1 or more")
        self.shots = shots

    def validate(self, tokenizer: PreTrainedTokenizerBase, blocks: int) -> None:
        """Do nothing: no files are read."""

    def variants(self, target: Target) -> Iterator[Variant]:
        """Yield one variant per number of examples; the model is unchanged."""
        for count in self.shots:
            yield Variant(f"{count}-shot", {"shots": count}, {"num_fewshot": count})
