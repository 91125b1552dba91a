"""Token scores and greedy replies, batched by length, through the answers of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from unlearnctl.data.encode import _common, first_characters, with_end
from unlearnctl.data.prompted import join_prompt
from unlearnctl.data.rows import Row, collate
from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.utils.errors import UserError, brief

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Load = Callable[[], "PreTrainedModel"]


@dataclass(frozen=True)
class TokenScores:
    """Of each scored token of one text: log-probability, whether it was the most probable one, and the mean and
    standard deviation of the log-probability over the vocabulary at its position."""

    logp: list[float]
    hit: list[int]
    mean: list[float]
    std: list[float]

    @property
    def nll(self) -> float:
        """The mean negative log-likelihood, in nats per token."""
        return -sum(self.logp) / len(self.logp)


@dataclass(frozen=True)
class Prompt:
    """How a question is put.

    Args:
        template: with {question} in it.
        chat: put it as the user's turn of the tokenizer's chat template, the assistant's turn begun.
    """

    template: str
    chat: bool = False

    def check(self, key: str, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
        """Refuse a template without {question}, and chat where the tokenizer has no chat template."""
        if "{question}" not in self.template:
            raise UserError(f"{key}.prompt={self.template!r}: must hold {{question}}")
        if tokenizer is not None and self.chat:
            check_chat(tokenizer, f"{key}.chat")

    def put(self, question: str, tokenizer: PreTrainedTokenizerBase, first: str = "") -> str:
        """Return the text that the model reads; `first` goes before the template, within the user's turn."""
        text = first + self.template.replace("{question}", question)
        return users_turn(tokenizer, text) if self.chat else text


def users_turn(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """Return `text` as the user's turn of the tokenizer's chat template, the assistant's turn begun."""
    turns = [{"role": "user", "content": text}]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


def check_chat(tokenizer: PreTrainedTokenizerBase, key: str) -> None:
    """Check that the tokenizer has a chat template that takes a user's turn.

    Raises:
        UserError: otherwise; `key` is the setting that asks for it.
    """
    if not tokenizer.chat_template:
        raise UserError(f"{key}=true: the tokenizer has no chat template; set {key}=false")
    try:
        users_turn(tokenizer, "a question")
    except Exception as error:  # of jinja, or several templates of which none is the default
        raise UserError(f"{key}=true: the tokenizer's chat template fails ({brief(error)})") from error


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    texts: Sequence[str],
    max_length: int,
    key: str,
    special: bool = True,
    end: bool = False,
) -> list[Row]:
    """Encode one row for each pair; what follows the prompt is scored.

    Args:
        special: let the tokenizer add its bos.
        end: score the end token too, after each text that was not cut.

    Raises:
        UserError: a text of which nothing can be scored within `max_length` tokens.
    """
    joined = [
        first_characters(tokenizer, join_prompt(p, t), max_length)
        for p, t in zip(prompts, texts, strict=True)
    ]
    heads = tokenizer(list(prompts), add_special_tokens=special)["input_ids"]
    ids = tokenizer(joined, add_special_tokens=special, truncation=True, max_length=max_length)["input_ids"]
    rows = [
        Row(row, _common(row, head), place) for place, (row, head) in enumerate(zip(ids, heads, strict=True))
    ]
    for row in rows:
        if row.predictions < 1:
            raise UserError(
                f"{key}.max_length={max_length}: nothing to score in the text {joined[row.index][:60]!r}"
            )
    closing = tokenizer.eos_token_id if end else None
    return [replace(row, ids=with_end(row.ids, closing, max_length)) for row in rows]


def score_rows(
    answers: Answers, load: Load, rows: Sequence[Row], batch_size: int, key: str, whose: str = ""
) -> list[TokenScores]:
    """Score the tokens that follow each row's prompt.

    Args:
        load: gives the model; called only where some row is not yet known.
        whose: names the model, where it is not the one under evaluation.

    Raises:
        UserError: logits that are not finite.
    """

    def work(places: list[int]) -> Iterator[tuple[int, Any]]:
        model = load()
        for start in range(0, len(places), batch_size):
            here = places[start : start + batch_size]
            yield from zip(here, _score_batch(model, [rows[p] for p in here], key), strict=True)

    found = answers.all(
        f"token scores {whose}".rstrip(), [[r.ids, r.prompt] for r in rows], work, lambda p: len(rows[p].ids)
    )
    return [TokenScores(*columns) for columns in found]


def _score_batch(model: PreTrainedModel, rows: Sequence[Row], key: str) -> list[list[list[float]]]:
    from unlearnctl.ops.logprobs import prediction_mask
    from unlearnctl.ops.sequence_scores import token_scores

    # The counts are for losses, and none is computed here.
    batch = collate(rows, 0, "right", 1, 1, 1, 0).to(model.device)
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False).logits
    counted = prediction_mask(batch.labels, batch.attention_mask)
    picked = logits[:, :-1][counted[:, 1:]]
    refuse_infinite(picked, key)
    columns = [c.cpu().double().tolist() for c in token_scores(picked, batch.labels[counted])]
    lengths, found, start = counted.sum(1).tolist(), [], 0
    for length in lengths:
        logp, hit, mean, std = (column[start : start + length] for column in columns)
        found.append([logp, [int(h) for h in hit], mean, std])
        start += length
    return found


def refuse_infinite(values: Tensor, key: str) -> None:
    """Refuse values that are not finite: NaN would become a score.

    Raises:
        UserError: a value is NaN or infinite.
    """
    if not bool(values.isfinite().all()):
        raise UserError(f"{key}: the model gives logits that are NaN or infinite; its weights are ruined")


def greedy_replies(
    answers: Answers,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    max_new_tokens: int,
    batch_size: int,
    special: bool = True,
    stop: Sequence[str] = (),
) -> list[str]:
    """Generate the most probable continuation; return it without the prompt, cut at the first of `stop`."""
    ids = tokenizer(list(prompts), add_special_tokens=special)["input_ids"]

    def work(places: list[int]) -> Iterator[tuple[int, str]]:
        for start in range(0, len(places), batch_size):
            here = places[start : start + batch_size]
            texts = _greedy_batch(model, tokenizer, [ids[p] for p in here], max_new_tokens)
            yield from zip(here, texts, strict=True)

    items = [[row, max_new_tokens] for row in ids]
    return [cut(text, stop) for text in answers.all("greedy reply", items, work, lambda p: len(ids[p]))]


def cut(text: str, stop: Sequence[str]) -> str:
    """Return `text` up to the first of `stop`, without surrounding white space."""
    for mark in stop:
        text = text.split(mark, 1)[0]
    return text.strip()


def _greedy_batch(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ids: Sequence[list[int]], max_new_tokens: int
) -> list[str]:
    import torch
    from transformers import GenerationConfig

    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id or 0
    width = max(map(len, ids))
    # Padded on the left, because the reply begins after the last column.
    batch = torch.tensor([[pad] * (width - len(row)) + row for row in ids], device=model.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids], device=model.device)
    ends = model.generation_config.eos_token_id if model.generation_config else None
    # Not the model's own settings, which may sample or penalise repetition: scores are to compare models.
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        pad_token_id=pad,
        eos_token_id=tokenizer.eos_token_id if ends is None else ends,
        bos_token_id=tokenizer.bos_token_id,
    )
    out = model.generate(input_ids=batch, attention_mask=mask, generation_config=settings)  # type: ignore[operator]
    return list(tokenizer.batch_decode(out[:, width:], skip_special_tokens=True))
