"""Multiple-choice questions from files of your own: accuracy, and how probable the right answers are."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeInt, PositiveInt

from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.evaluation.scoring.token_scores import check_chat, greedy_replies, users_turn
from unlearnctl.evaluation.suites.mc_questions import Question, QuestionFields, letter, read_questions, swap
from unlearnctl.results.metric import Metric
from unlearnctl.results.statistics import mean, share
from unlearnctl.utils.errors import UserError, nearest

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Files = str | Mapping[str, str] | None
REPLIES_AT_ONCE = 20  # generated in one batch
QUESTION, CHOICES = "{question}", "{choices}"


class MultipleChoiceSuite:
    """`NAME_acc_norm` (or `NAME_acc`) and `NAME_logp` for every file of questions, to be forgotten or to be retained.

    A choice is scored by the log-likelihood of " CHOICE" after the prompt, in nats, as in lm-eval's multiple_choice.
    The model's answer is the choice with the highest score; for acc_norm, with the highest score per character of the
    choice. `NAME_logp` is the mean score of the right answers, per question. It moves long before an answer changes,
    so it shows what accuracy is too coarse for.

    Args:
        forget, retain: one file, or NAME → file; what `path` in `conf/data/` takes.
        metric: acc_norm, which does not favour short choices, or acc.
        prompt: with {question} in it. If it also holds {choices}, these are listed there as "A. …" lines and the
            letters are scored instead of the texts.
        question_field, choices_field, answer_field: field names or dotted paths. `choices_field` may list one field
            for each choice. Without `answer_field`, it is `gold` or `answer`. An answer is a number counted from 0,
            a letter or the text of a choice.
        num_fewshot: the first n of `examples` before each question, as in lm-eval; never the question itself.
        examples: files of questions, as `forget`; None = the same files.
        prefix: text before every prompt, examples included.
        chat: prefix, examples and prompt are the user's turn of the tokenizer's chat template, and a choice begins the
            reply, without a space: lm-eval's apply_chat_template with its fewshot_as_multiturn off.
        replies: of each file, so many of the first questions are also answered in the model's own words, for people
            to read; 0 = none.
        max_new_tokens: of such a reply, which ends with the line.
        limit: questions of each file, drawn at random with seed 0; None = all.
        swapped: also score the choices of each question after another question of the file, drawn with seed 0, as
            `NAME_swapped`. What the choices alone give away is what is left when nothing of a subject is known, and
            may be well above 1 / choices.
        batch_tokens: read in one pass; halved where a GPU runs out of memory.
        key: config key for messages.
    """

    def __init__(
        self,
        forget: Files = None,
        retain: Files = None,
        metric: Literal["acc", "acc_norm"] = "acc_norm",
        prompt: str = "Question: {question}\nAnswer:",
        question_field: str = "question",
        choices_field: str | list[str] = "choices",
        answer_field: str | None = None,
        num_fewshot: NonNegativeInt = 0,
        examples: Files = None,
        prefix: str | None = None,
        chat: bool = False,
        replies: NonNegativeInt = 40,
        max_new_tokens: PositiveInt = 24,
        limit: PositiveInt | None = None,
        swapped: bool = False,
        batch_tokens: PositiveInt = 4096,
        key: str = "eval.mc",
    ) -> None:
        if QUESTION not in prompt:
            raise UserError(f"{key}.prompt={prompt!r}: must hold {QUESTION}")
        if swapped and num_fewshot:
            raise UserError(
                f"{key}.swapped=true: not with {key}.num_fewshot={num_fewshot}: examples may hold the answer"
            )
        lost, kept = _named(forget, "forget"), _named(retain, "retain")
        if twice := lost.keys() & kept.keys():
            raise UserError(f"{key}.retain.{min(twice)}: {key}.forget has a file of that name too")
        self.roles = dict.fromkeys(lost, "forget") | dict.fromkeys(kept, "retain")
        self.files = lost | kept
        self.metric, self.prompt, self.prefix, self.key = metric, prompt, f"{prefix} " if prefix else "", key
        self.fields = QuestionFields(question_field, choices_field, answer_field)
        self.num_fewshot, self.examples, self.chat = num_fewshot, examples, chat
        self.limit, self.swapped, self.batch_tokens = limit, swapped, batch_tokens
        self.replies, self.max_new_tokens = replies, max_new_tokens
        self._asked: dict[str, list[Question]] = {}
        self._shots: dict[str, list[Question]] = {}

    def validate(self) -> None:
        """Read all questions and examples.

        Raises:
            UserError: no file, or a file, a field or an answer that cannot be read; too few examples.
        """
        if not self.files:
            raise UserError(
                f"{self.key}.forget and {self.key}.retain: give a file of questions for one or both"
            )
        for name, file in self.files.items():
            every = self._read(self.roles[name], name, file)
            self._asked[name] = self._draw(name, every)
            self._shots[name] = self._examples(name, every) if self.num_fewshot else []

    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Check that its chat template works, if the config asks for it.

        Raises:
            UserError: it has none, or it fails.
        """
        if self.chat:
            check_chat(tokenizer, f"{self.key}.chat")

    def run(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, answers: Answers
    ) -> dict[str, Metric]:
        """Score every choice of every question; n counts questions."""
        if not self._asked:
            self.validate()
        self.check_tokenizer(tokenizer)
        scores = self._scores(self._asked, model, tokenizer, answers)
        found = {}
        for name, questions in self._asked.items():
            role = self.roles[name]
            goal = "lower" if role == "forget" else "higher"
            mine = [next(scores) for _ in questions]
            hits = self._hits(questions, mine)
            chance = fmean(1 / len(each.choices) for each in questions)
            found[f"{name}_{self.metric}"] = self._with_replies(
                name, share(hits, chance, role, goal), model, tokenizer, answers
            )
            said = [s[each.answer] for each, s in zip(questions, mine, strict=True)]
            found[f"{name}_logp"] = mean(said, role, goal)
        return found | (self._swapped(model, tokenizer, answers) if self.swapped else {})

    def _swapped(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, answers: Answers
    ) -> dict[str, Metric]:
        """Score the choices of each question after another one's text."""
        asked = {name: swap(questions) for name, questions in self._asked.items()}
        scores = self._scores(asked, model, tokenizer, answers)
        found = {}
        for name, questions in asked.items():
            hits = self._hits(questions, [next(scores) for _ in questions])
            chance = fmean(1 / len(each.choices) for each in questions)
            found[f"{name}_swapped"] = share(hits, chance, "quality", "chance")
        return found

    def _hits(self, questions: Sequence[Question], scores: Sequence[Sequence[float]]) -> list[float]:
        return [self._is_right(each, s) for each, s in zip(questions, scores, strict=True)]

    def _with_replies(
        self,
        name: str,
        metric: Metric,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        answers: Answers,
    ) -> Metric:
        """Add what the model itself says to the first questions."""
        first = self._asked[name][: self.replies]
        if not first:
            return metric
        prompts = [self.context(name, each, tokenizer) for each in first]
        said = greedy_replies(
            answers, model, tokenizer, prompts, self.max_new_tokens, REPLIES_AT_ONCE, not self.chat
        )
        # Some models begin with an empty line, so a stop at the first line's end would leave nothing.
        lines = [reply.partition("\n")[0] for reply in said]
        right = [self._choices(each)[each.answer].strip() for each in first]
        return metric.answering([each.text for each in first], lines, right)

    def _is_right(self, question: Question, scores: Sequence[float]) -> float:
        """Return 1 if the right choice is the model's answer, else 0; the first of equal ones counts, as in lm-eval."""
        lengths = [len(said) if self.metric == "acc_norm" else 1 for said in self._choices(question)]
        each = [score / length for score, length in zip(scores, lengths, strict=True)]
        return float(each.index(max(each)) == question.answer)

    def context(self, name: str, question: Question, tokenizer: PreTrainedTokenizerBase) -> str:
        """Write what the model reads before a choice: prefix, examples, prompt."""
        others = [shot for shot in self._shots[name] if shot != question][: self.num_fewshot]
        shots = "".join(f"{self._put(shot)} {self._choices(shot)[shot.answer]}\n\n" for shot in others)
        text = f"{self.prefix}{shots}{self._put(question)}"
        return users_turn(tokenizer, text) if self.chat else text

    def _scores(
        self,
        asked: Mapping[str, Sequence[Question]],
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        answers: Answers,
    ) -> Iterator[list[float]]:
        """Yield, for each question of every file in turn, the log-likelihood of each choice, in nats."""
        from lm_eval.api.instance import Instance

        from unlearnctl.evaluation.scoring.harness import silent_scorer

        questions = [(name, each) for name, several in asked.items() for each in several]
        pairs = [
            (context, choice if self.chat else f" {choice}")
            for name, each in questions
            for context in [self.context(name, each, tokenizer)]
            for choice in self._choices(each)
        ]
        requests = [Instance("loglikelihood", {}, pair, place) for place, pair in enumerate(pairs)]
        with silent_scorer(model, tokenizer, self.batch_tokens, answers, self.key) as lm:
            scores = iter(lm.loglikelihood(requests))
        for _, each in questions:
            yield [next(scores)[0] for _ in each.choices]

    def _put(self, question: Question) -> str:
        listed = "\n".join(f"{letter(k)}. {choice}" for k, choice in enumerate(question.choices))
        before, _, after = self.prompt.partition(QUESTION)
        return f"{before.replace(CHOICES, listed)}{question.text}{after.replace(CHOICES, listed)}"

    def _choices(self, question: Question) -> list[str]:
        """Write what is scored for each choice."""
        listed = CHOICES in self.prompt
        return [letter(k) if listed else choice for k, choice in enumerate(question.choices)]

    def _read(self, setting: str, name: str, file: str) -> list[Question]:
        key = f"{self.key}.{setting}" if name == setting else f"{self.key}.{setting}.{name}"
        return read_questions(file, self.fields, key, self.key)

    def _draw(self, name: str, questions: Sequence[Question]) -> list[Question]:
        if self.limit is None or self.limit >= len(questions):
            return list(questions)
        _say_once(f"{self.key}: {name}: {self.limit} of {len(questions)} questions, drawn with seed 0")
        places = random.Random(0).sample(range(len(questions)), self.limit)
        return [questions[place] for place in sorted(places)]

    def _examples(self, name: str, asked: Sequence[Question]) -> list[Question]:
        """Return one question more than is needed, because the asked one may be among them."""
        given = _named(self.examples, name)
        if given and name not in given:
            raise UserError(f"{self.key}.examples: has no file for {name}{nearest(name, given)}")
        found = self._read("examples", name, given[name]) if given else asked
        if len(found) <= self.num_fewshot and (not given or len(found) < self.num_fewshot):
            whose = given.get(name, self.files[name])
            raise UserError(
                f"{self.key}.num_fewshot={self.num_fewshot}: {whose} has {len(found)} questions, the asked one included"
            )
        return list(found[: self.num_fewshot + 1])


@cache
def _say_once(line: str) -> None:
    """Print a line; attacks and sweeps build the same suite again for every variant."""
    print(line)


def _named(files: Files, name: str) -> dict[str, str]:
    """Map names to files; a single file is called `name`."""
    return {} if not files else {name: files} if isinstance(files, str) else dict(files)
