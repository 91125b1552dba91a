"""Share what TOFU, MUSE and RWKU do alike: they put questions from a benchmark's own files."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from unlearnctl.evaluation.items import Item
from unlearnctl.evaluation.scoring.token_scores import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class QuestionSuite:
    """Reads each set of questions once, and checks the prompt; a subclass sets `key` and `prompt`."""

    key: str
    prompt: Prompt

    def read_sets(self) -> dict[str, list[Item]]:
        """Read the rows of each set.

        Raises:
            UserError: see `read_items`.
        """
        raise NotImplementedError

    @cached_property
    def sets(self) -> dict[str, list[Item]]:
        """The rows of each set, read once."""
        return self.read_sets()

    def validate(self) -> None:
        """Check that the prompt holds the question and that every set is complete.

        Raises:
            UserError: otherwise.
        """
        self.prompt.check(self.key)
        _ = self.sets  # reading checks every row

    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Check that it has what the prompts need.

        Raises:
            UserError: what it lacks.
        """
        self.prompt.check(self.key, tokenizer)
