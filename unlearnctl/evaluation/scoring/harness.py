"""lm-evaluation-harness's model interface over our scoring: any of its tasks, templates and few-shot settings."""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import os
import warnings
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from lm_eval.models.huggingface import HFLM

from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.evaluation.scoring.likelihood import Answer, score
from unlearnctl.evaluation.scoring.questions import Question
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PORTION = 2048  # strings tokenised at once
# model → whether our scoring can be used. Weak, or a model would stay in memory after its last evaluation.
AGREE: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
WINDOWS = 1024  # of a rolling likelihood that are scored together


class HarnessModel(HFLM):
    """The harness's own Hugging Face class, with the same tokens and results, but

    each question in one pass, beginnings that questions share read once, logits only where they are asked for,
    questions dealt out over all ranks (every rank has all results; only the harness's own sharding is off), and
    answers kept as they come.

    Args:
        model, tokenizer: in memory.
        tokens: read in one pass, padding included.
        answers: where results are kept.
        key: config key for messages.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        tokens: int = 4096,
        answers: Answers | None = None,
        key: str = "eval",
    ) -> None:
        super().__init__(pretrained=model, tokenizer=tokenizer, batch_size=WINDOWS)
        self.tokens, self.answers, self.key = tokens, answers or Answers(), key
        # Contexts are handed out as they are, so that a question's requests share one list. There are as many wholes as
        # choices, so these are arrays: 4 bytes a token instead of up to 36.
        self._contexts: dict[str, list[int]] = {}
        self._wholes: dict[str, array[int]] = {}

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Score as the harness does, with all strings tokenised in batches beforehand."""
        pairs = [request.args for request in requests]
        # Trailing spaces are stripped, because the harness moves them to the continuation before it tokenises.
        self._contexts = dict(self._encode_all({context.rstrip() for context, _ in pairs}))
        self._wholes = {t: array("i", ids) for t, ids in self._encode_all({"".join(pair) for pair in pairs})}
        try:
            return super().loglikelihood(requests, disable_tqdm=True)
        finally:
            self._contexts, self._wholes = {}, {}

    def tok_encode(
        self,
        string: str,
        add_special_tokens: bool | None = None,
        left_truncate_len: int | None = None,
        **kwargs: Any,
    ) -> list[int]:
        """Return token ids, from the batches if they are there."""
        if add_special_tokens is None and left_truncate_len is None:
            if string in self._contexts:
                return self._contexts[string]
            if string in self._wholes:
                return list(self._wholes[string])
        return super().tok_encode(string, add_special_tokens, left_truncate_len, **kwargs)

    def _encode_all(self, strings: set[str]) -> Iterator[tuple[str, list[int]]]:
        bos = self.tokenizer.decode(self.prefix_token_id)
        # Texts that already begin with the bos are left to the harness, which then adds no second one.
        ordered = sorted(text for text in strings if text and not text.startswith(bos))
        kwargs = {} if self.add_bos_token is None else {"add_special_tokens": self.add_bos_token}
        for start in range(0, len(ordered), PORTION):
            portion = ordered[start : start + PORTION]
            ids = self.tokenizer(portion, **kwargs)["input_ids"]
            yield from zip(portion, ids, strict=True)

    def _loglikelihood_tokens(
        self,
        requests: Sequence[tuple[Any, list[int], list[int]]],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        for _, context, continuation in requests:
            if not 0 < len(continuation) <= self.max_length:
                before = self.tokenizer.decode(context)[-60:]
                raise UserError(
                    f"{self.key}: what follows {before!r} has {len(continuation)} tokens of its own: "
                    f"must be 1 to {self.max_length}"
                )
        questions, where = _questions(requests, self.max_length)
        # Sorted by context, so that the questions in a rank's share have beginnings in common.
        order = sorted(range(len(questions)), key=lambda i: questions[i].context)
        ordered = [questions[i] for i in order]

        def work(places: list[int]) -> Iterator[tuple[int, Answer]]:
            for place, answer in self._score(ordered, places):
                if any(math.isnan(value) for value, _ in answer):
                    text = self.tokenizer.decode(ordered[place].context)[-60:]
                    raise UserError(f"{self.key}: the model gives NaN after {text!r}; its weights are broken")
                yield place, answer

        found = self.answers.all(
            "likelihoods",
            [[_digest(q.context), q.continuations] for q in ordered],
            work,
            cost=lambda place: len(ordered[place].context) + sum(map(len, ordered[place].continuations)),
        )
        by_question = dict(zip(order, found, strict=True))
        return [(float(by_question[q][k][0]), bool(by_question[q][k][1])) for q, k in where]

    def _score(self, questions: Sequence[Question], places: list[int]) -> Iterator[tuple[int, Answer]]:
        if self.model not in AGREE:
            AGREE[self.model] = agrees(self.model)
            if not AGREE[self.model]:
                print(
                    f"{self.key}: this model does not take our passes, so the harness's own, slower ones are used"
                )
        if AGREE[self.model]:
            yield from score(self.model, questions, places, self.tokens)
        else:
            yield from self._plainly(questions, places)

    def _plainly(self, questions: Sequence[Question], places: list[int]) -> Iterator[tuple[int, Answer]]:
        """Use the harness's own scoring, for models that do not accept our masks or caches."""
        for place in places:
            question = questions[place]
            asked: list[Any] = [(None, question.context, c) for c in question.continuations]
            yield (
                place,
                [list(x) for x in super()._loglikelihood_tokens(asked, disable_tqdm=True, override_bs=8)],
            )

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Generate as the harness does, in batches of similar length, dealt out over ranks and kept."""
        size = max(1, self.tokens // 256)

        def work(places: list[int]) -> Iterator[tuple[int, str]]:
            for start in range(0, len(places), size):
                here = places[start : start + size]
                texts = HFLM.generate_until(self, [requests[i] for i in here], disable_tqdm=True)
                yield from zip(here, texts, strict=True)

        items, times = [], Counter[str]()
        for request in requests:
            items.append([*request.args, times[str(request.args)]])
            # Each sample is a new draw, so equal requests are different items, unless decoding is greedy.
            times[str(request.args)] += request.args[1].get("do_sample") is not False
        return self.answers.all("generations", items, work, cost=lambda place: len(items[place][0]))


@contextmanager
def silent_scorer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: int, answers: Answers, key: str
) -> Iterator[HarnessModel]:
    """Yield the scorer of a model, with the harness kept silent; undo what its class sets on model and tokenizer."""
    side, generation = tokenizer.padding_side, model.generation_config
    try:
        with _silent():
            yield HarnessModel(model, tokenizer, tokens, answers, key)
    finally:
        tokenizer.padding_side, model.generation_config = side, generation


@contextmanager
def _silent() -> Iterator[None]:
    # Its progress bars take no switch that covers all of them, and outside a checkout the git that it starts
    # complains on the file descriptor itself.
    held, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its metrics
            yield
    finally:
        os.dup2(held, 2)
        os.close(held)
        os.close(null)


def agrees(model: PreTrainedModel) -> bool:
    """Whether our scoring gives what the model's own forward gives, on a small sample with a prefix and branches."""
    last = model.config.get_text_config().vocab_size - 1
    shared = [1 + (7 * i) % last for i in range(12)]
    questions = [
        Question([*shared, 1 + k % last], [[1 + k % last, last - k, last], [last - k, 1 + k % last]])
        for k in range(3)
    ]
    with contextlib.suppress(Exception):  # a strange architecture may fail in any way
        found = dict(score(model, questions, range(3), 4096))
        return all(
            abs(value - _plain(model, q.context, c)) <= 1e-3 * max(1, abs(value)) * _slack(model)
            for place, q in enumerate(questions)
            for c, (value, _) in zip(q.continuations, found[place], strict=True)
        )
    return False


@torch.no_grad()
def _plain(model: PreTrainedModel, context: list[int], continuation: list[int]) -> float:
    ids = torch.tensor([context + continuation], device=model.device)
    logits = model(input_ids=ids, use_cache=False).logits[0, len(context) - 1 : -1].float()
    return float(logits.log_softmax(-1).gather(1, ids[0, len(context) :, None]).sum())


def _slack(model: PreTrainedModel) -> float:
    """Return how much coarser than float32 the model computes."""
    return 1.0 if torch.finfo(model.dtype).bits >= 32 else 50.0


def _questions(
    requests: Sequence[tuple[Any, list[int], list[int]]], longest: int
) -> tuple[list[Question], list[tuple[int, int]]]:
    """Group requests with the same context into one question; give each request its question and place there.

    What does not fit into the model's window loses its beginning, as in the harness, and so has a context of its own.
    """
    places: dict[str, int] = {}
    questions: list[Question] = []
    where = []
    for _, context, continuation in requests:
        cut = (context + continuation)[-(longest + 1) : -len(continuation)]
        place = places.setdefault(_digest(cut), len(questions))
        if place == len(questions):
            questions.append(Question(cut, []))
        where.append((place, len(questions[place].continuations)))
        questions[place].continuations.append(continuation)
    return questions, where


def _digest(ids: Sequence[int]) -> str:
    return hashlib.sha256(array("i", ids).tobytes()).hexdigest()[:32]
