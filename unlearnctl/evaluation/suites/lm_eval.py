"""Tasks of lm-evaluation-harness: its prompts, its scoring, the figures that it reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import MinLen
from pydantic import NonNegativeInt, PositiveInt

from unlearnctl.evaluation.rehearsal import aggregation, labels, offered, pick
from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.evaluation.scoring.harness_scores import Part, group_weights, guess, metric_of
from unlearnctl.evaluation.scoring.token_scores import check_chat
from unlearnctl.evaluation.tasks import Tasks
from unlearnctl.evaluation.templates import TooMuch, templates_compiled_once
from unlearnctl.results.metric import Metric
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class LMEvalSuite:
    """lm-eval tasks, each of which becomes one metric: the figure that lm-eval itself reports.

    Args:
        tasks: metric name → lm-eval task or group name.
        include: folder of task YAMLs: a path, `tinyworld:tasks`, `unlearnctl:NAME` for a folder of ours, or
            `lm_eval:NAME` for one of the installed harness. Only that folder is indexed (milliseconds; the whole
            default index is 12 s).
        path: folder with a copy of the data of lm-eval's or our tasks, in the hub dataset's layout or, for MMLU, as
            its authors publish it; None = the hub.
        role: forget or retain, for all tasks.
        metric: the harness's name of the score, such as acc, acc_norm or word_perplexity. Where a task has several
            filters, each gives a metric of its own (`NAME,FILTER`), and `exact_match,strict-match` takes one.
        num_fewshot: examples before each question; None = the task's own.
        prefix: text before every prompt, examples included (lm-eval's system instruction, and a space).
        limit: first n questions of each task; None = all.
        batch_tokens: read in one pass; halved where a GPU runs out of memory.
        breakdown: also one metric per subject of a group.
        chance: score of a guess; None = by the number of choices, where a choice is picked.
        apply_chat_template, fewshot_as_multiturn, system_instruction: lm-eval's options of these names. Examples
            are turns of their own unless that is false.
        trust_task_code: task files of yours may run Python (`!function`); only from the command line.
        key: config key for messages.
    """

    def __init__(
        self,
        tasks: Annotated[Mapping[str, str], MinLen(1)],
        include: str,
        role: Literal["forget", "retain"],
        num_fewshot: NonNegativeInt | None = None,  # None: the task's own
        limit: PositiveInt | None = None,
        batch_tokens: PositiveInt = 4096,
        chance: float | None = None,
        metric: str = "acc",
        prefix: str | None = None,
        breakdown: bool = False,
        apply_chat_template: bool = False,
        fewshot_as_multiturn: bool | None = None,
        system_instruction: str | None = None,
        trust_task_code: bool = False,
        path: str | None = None,
        key: str = "eval",
    ) -> None:
        if fewshot_as_multiturn and not apply_chat_template:
            raise UserError(f"{key}.fewshot_as_multiturn=true: needs {key}.apply_chat_template=true")
        if prefix and system_instruction:
            raise UserError(f"{key}.prefix and {key}.system_instruction: give one, they are the same place")
        self.tasks, self.include, self.role = dict(tasks), include, role
        if path is not None and not include.startswith(("lm_eval:", "unlearnctl:")):
            raise UserError(f"{key}.path={path}: task files of your own name their data themselves")
        self.harness = Tasks(list(self.tasks.values()), include, num_fewshot, key, trust_task_code, path)
        self.limit, self.batch_tokens, self.chance, self.key = limit, batch_tokens, chance, key
        self.metric, self.breakdown, self.chat = metric, breakdown, apply_chat_template
        self.turns = apply_chat_template and fewshot_as_multiturn is not False
        # the harness joins without a space
        self.system = f"{prefix} " if prefix else system_instruction

    def validate(self) -> None:
        """Check that the folder has every task, that every question can be asked, and that lm-eval reports the metric.

        Raises:
            UserError: which is missing, with the nearest name; which question is malformed.
        """
        self.harness.check_names()
        if self.include.startswith("tinyworld:"):  # those are our own files
            return
        self.harness.check_questions(self.limit)
        values = self.harness.rehearsed(self.limit)
        groups, tasks = self.harness.load()["groups"], self.harness.load()["tasks"]
        for name in self._reported().values():
            known = offered(values, groups[name]) if name in groups else values[name]
            if known is not None:
                for label in pick(self.metric, known, self.key):
                    self._goal(label, self.harness.leaves(name), tasks)

    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Check that its chat template works, if the config asks for it.

        Raises:
            UserError: it has none.
        """
        if self.chat:
            check_chat(tokenizer, f"{self.key}.apply_chat_template")

    def run(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, answers: Answers
    ) -> dict[str, Metric]:
        """Score each task over its questions; n counts questions."""
        results, found = self._evaluate(model, tokenizer, answers), {}
        for name, task in self._reported().items():
            picked = pick(self.metric, labels(results["results"][task]), self.key)
            for label in picked:
                shown = name if len(picked) == 1 else f"{name},{label.partition(',')[2]}"
                found[shown] = self._metric(results, task, label)
        return found

    def _reported(self) -> dict[str, str]:
        """Map metric names to tasks or groups, with the tasks of groups if asked for.

        Raises:
            UserError: a tag, or a group without aggregate_metric_list: lm-eval gives it no score.
        """
        groups, found = self.harness.load()["groups"], {}
        for name, task in self.tasks.items():
            leaves = self.harness.leaves(task)
            if leaves == [task] or (task in groups and groups[task].has_aggregation):
                found[name] = task
            elif not self.breakdown:
                kind = "group without aggregate_metric_list" if task in groups else "tag"
                raise UserError(
                    f"{self.key}.tasks={task}: lm-eval gives a {kind} no score; name its tasks, or set "
                    f"{self.key}.breakdown=true"
                )
            if self.breakdown:
                found |= {f"{name}/{leaf.removeprefix(f'{task}_')}": leaf for leaf in leaves if leaf != task}
        return found

    def _evaluate(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, answers: Answers
    ) -> dict[str, Any]:
        from lm_eval.evaluator import evaluate

        from unlearnctl.evaluation.scoring.harness import silent_scorer

        scorer = silent_scorer(model, tokenizer, self.batch_tokens, answers, self.key)
        try:
            with scorer as lm, templates_compiled_once():
                results: Any = evaluate(
                    lm=lm,
                    task_dict=self.harness.load(),
                    system_instruction=self.system,
                    apply_chat_template=self.chat,
                    fewshot_as_multiturn=self.turns,
                    limit=self.limit,
                    bootstrap_iters=0,
                    log_samples=True,
                    confirm_run_unsafe_code=self.harness.trust_code,
                )
                return results
        except TooMuch as error:  # in an example; questions have been tried before
            raise UserError(f"{self.key}.tasks={','.join(self.tasks.values())}: {error}") from error

    def _metric(self, results: Mapping[str, Any], name: str, label: str) -> Metric:
        loaded, (metric, _, way) = self.harness.load(), label.partition(",")
        leaves = [leaf for leaf in self.harness.leaves(name) if label in results["results"][leaf]]
        logged = [
            [s for s in results["samples"][leaf] if s["filter"] == way and metric in s] for leaf in leaves
        ]
        sizes = [results["results"][leaf]["sample_len"] for leaf in leaves]
        shares = group_weights(loaded["groups"].get(name), metric, way, sizes)
        tasks = [loaded["tasks"][leaf] for leaf in leaves]
        parts = [
            Part([sample[metric] for sample in samples], aggregation(task, metric), weight)
            for samples, task, weight in zip(logged, tasks, shares, strict=True)
        ]
        guesses = [guess(samples, metric, task) for samples, task in zip(logged, tasks, strict=True)]
        known = [w * g for w, g in zip(shares, guesses, strict=True) if g is not None]
        chance = self.chance if self.chance is not None else sum(known) if len(known) == len(shares) else None
        goal = self._goal(label, leaves, loaded["tasks"])
        return metric_of(parts, float(results["results"][name][label]), self.role, goal, chance)

    def _goal(self, label: str, leaves: Sequence[str], tasks: Mapping[str, Any]) -> str:
        """Return where the score should go: what is to be forgotten should score worse."""
        metric = label.partition(",")[0]
        ways = {bool(tasks[leaf].higher_is_better().get(metric, True)) for leaf in leaves}
        if len(ways) > 1:
            raise UserError(
                f"{self.key}.metric={metric}: is better higher in some of the group's tasks and lower in others"
            )
        return "higher" if ways == {self.role == "retain"} else "lower"
