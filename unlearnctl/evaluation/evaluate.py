"""Running suites on a model, leaving the model and the random state as they were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.results.metric import Metric

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Suite(Protocol):
    """One entry of `conf/eval/`."""

    def validate(self) -> None:
        """Run cheap checks before weights load.

        Raises:
            UserError: a file or field is missing; one line with the config key.
        """
        ...

    def run(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, answers: Answers
    ) -> dict[str, Metric]:
        """Score the model; called in eval mode, without grad, with a seeded random state.

        What it asks of the model goes through `answers`, item by item.
        """
        ...


def validate(suites: Iterable[Suite], tokenizer: PreTrainedTokenizerBase) -> None:
    """Run each suite's checks before weights load; a suite with demands on the tokenizer checks it too.

    Raises:
        UserError: a suite cannot be run.
    """
    for suite in suites:
        suite.validate()
        if check := getattr(suite, "check_tokenizer", None):
            check(tokenizer)


def evaluate(
    suites: Mapping[str, Suite],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    quiet: bool = False,
    seed: int = 0,
    answers: Answers | None = None,
) -> dict[str, dict[str, Metric]]:
    """Score every suite. The same model gives the same scores, whatever ran before.

    Args:
        answers: where per-item results are kept; None keeps them for this call.
    """
    from rich.console import Console

    console, answers = Console(quiet=quiet), answers or Answers()
    scores: dict[str, dict[str, Metric]] = {}
    for name, suite in suites.items():
        with console.status(f"evaluating {name} …"), undisturbed(model, seed):
            scores[name] = suite.run(model, tokenizer, answers)
    return scores


@contextmanager
def undisturbed(model: PreTrainedModel, seed: int) -> Iterator[None]:
    """Set eval mode, no grad and a seed; restore mode and global random states afterwards."""
    import random

    import numpy as np
    import torch

    training, states = model.training, (random.getstate(), np.random.get_state())
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        torch.manual_seed(seed)
        model.eval()
        try:
            yield
        finally:
            model.train(training)
            random.setstate(states[0])  # lm-eval seeds these two for itself
            np.random.set_state(states[1])
