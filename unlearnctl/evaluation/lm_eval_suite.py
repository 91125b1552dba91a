"""Multiple choice through lm-evaluation-harness: its tasks, its prompts, its scoring."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from typing import TYPE_CHECKING, Any

from unlearnctl.errors import UserError, unknown
from unlearnctl.evaluation.answers import Answers
from unlearnctl.evaluation.lm_eval_scores import Wanted, check_metric, leaves_of, score
from unlearnctl.evaluation.record import Metric
from unlearnctl.evaluation.tasks import Tasks
from unlearnctl.evaluation.templates import TooMuch, templates_compiled_once

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class LMEvalSuite:
    """lm-eval tasks, each of which becomes one metric.

    Args:
        tasks: metric name → lm-eval task or group name.
        include: folder of task YAMLs: a path, `tinyworld:tasks`, `unlearnctl:NAME` for a folder of ours, or
            `lm_eval:NAME` for one of the installed harness. Only that folder is indexed (milliseconds; the whole
            default index is 12 s).
        role: forget or retain, for all tasks.
        metric: the harness's name of the score, such as acc, acc_norm or word_perplexity; with its filter where a
            task has several: `exact_match,strict-match`.
        num_fewshot: examples before each question; None = the task's own.
        prefix: text before every prompt, examples included: lm-eval's system instruction, and a space.
        apply_chat_template: prompts become a conversation, in the model's chat template; lm-eval's own option.
        fewshot_as_multiturn: each example is a turn of that conversation, instead of all in one; lm-eval's own option.
        system_instruction: lm-eval's own option: what the conversation opens with, or stands before every prompt.
        limit: first n questions of each task; None = all.
        batch_tokens: read in one pass; halved where a GPU runs out of memory.
        breakdown: also one metric per subject of a group.
        chance: score of a guess.
        trust_task_code: task files of yours may run Python (`!function`); only from the command line.
        key: config key for messages.
    """

    def __init__(
        self,
        tasks: Mapping[str, str],
        include: str,
        role: str,
        num_fewshot: int | None = None,
        limit: int | None = None,
        batch_tokens: int = 4096,
        chance: float | None = 0.25,
        metric: str = "acc",
        prefix: str | None = None,
        apply_chat_template: bool = False,
        fewshot_as_multiturn: bool = False,
        system_instruction: str | None = None,
        breakdown: bool = False,
        trust_task_code: bool = False,
        key: str = "eval",
    ) -> None:
        if role not in ("forget", "retain"):
            raise unknown(f"{key}.role", role, ("forget", "retain"))
        if not tasks:
            raise UserError(f"{key}.tasks={{}}: must name a task, as {{metric: task}}")
        if limit is not None and limit < 1:
            raise UserError(f"{key}.limit={limit}: must be a positive number of questions, or null")
        if num_fewshot is not None and num_fewshot < 0:
            raise UserError(f"{key}.num_fewshot={num_fewshot}: must be 0 or more, or null for the task's own")
        self.tasks, self.include, self.role = dict(tasks), include, role
        self.harness = Tasks(list(self.tasks.values()), include, num_fewshot, key, trust_task_code)
        self.limit, self.batch_tokens, self.chance, self.key = limit, batch_tokens, chance, key
        self.metric, self.breakdown = metric, breakdown
        if fewshot_as_multiturn and not apply_chat_template:
            raise UserError(f"{key}.fewshot_as_multiturn=true: needs {key}.apply_chat_template=true")
        if prefix and system_instruction:
            raise UserError(f"{key}.prefix and {key}.system_instruction: give one, they are the same place")
        self.chat: dict[str, Any] = {
            "system_instruction": f"{prefix} " if prefix else system_instruction,  # joined without a space
            "apply_chat_template": apply_chat_template,
            "fewshot_as_multiturn": fewshot_as_multiturn,
        }

    def validate(self) -> None:
        """The task folder exists and has every task, and every question can be asked.

        Raises:
            UserError: which is missing, with the nearest name; which question is malformed.
        """
        self.harness.check_names()
        if not self.include.startswith("tinyworld:"):  # those are our own files
            for task in self.harness.load()["tasks"].values():
                check_metric(task, self.metric, self.key)
            self.harness.check_questions(self.limit)

    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Refuse a tokenizer without the chat template that is asked for.

        Raises:
            UserError: it has none.
        """
        if self.chat["apply_chat_template"] and not getattr(tokenizer, "chat_template", None):
            raise UserError(
                f"{self.key}.apply_chat_template=true: this model's tokenizer has no chat template"
            )

    def run(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, answers: Answers
    ) -> dict[str, Metric]:
        """Score of each task over its questions; n counts questions."""
        results = self._evaluate(model, tokenizer, answers)
        found = {name: self._metric(results, task) for name, task in self.tasks.items()}
        if self.breakdown:
            for name, task in self.tasks.items():
                parts = [leaf for leaf in leaves_of(results, task) if leaf != task]
                found |= {
                    f"{name}/{leaf.removeprefix(f'{task}_')}": self._metric(results, leaf) for leaf in parts
                }
        return found

    def _evaluate(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, answers: Answers
    ) -> dict[str, Any]:
        from lm_eval.evaluator import evaluate

        from unlearnctl.evaluation.harness import HarnessModel

        side, generation = tokenizer.padding_side, model.generation_config
        try:
            with _silent(), templates_compiled_once():
                results: Any = evaluate(
                    lm=HarnessModel(model, tokenizer, self.batch_tokens, answers, self.key),
                    task_dict=self.harness.load(),
                    **self.chat,
                    limit=self.limit,
                    bootstrap_iters=0,
                    log_samples=True,
                )
                return results
        except TooMuch as error:  # in an example; questions have been tried before
            raise UserError(f"{self.key}.tasks={','.join(self.tasks.values())}: {error}") from error
        finally:
            tokenizer.padding_side, model.generation_config = side, generation

    def _metric(self, results: Mapping[str, Any], task: str) -> Metric:
        wanted = Wanted(self.metric, self.role, self.chance, self.key)
        return score(results, self.harness.load(), task, wanted)


@contextmanager
def _silent() -> Iterator[None]:
    # Its progress bars take no switch that covers all of them, and outside a checkout the git that it starts
    # complains on the file descriptor itself.
    held, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        os.dup2(held, 2)
        os.close(held)
        os.close(null)
