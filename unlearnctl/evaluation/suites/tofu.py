"""TOFU (Maini et al. 2024, arXiv 2401.06121), with the two memorisation metrics that OpenUnlearning adds to it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from pydantic import PositiveInt

from unlearnctl.evaluation.collapse import reply_metrics, vocabulary
from unlearnctl.evaluation.items import Item, Tokens, read_items
from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.evaluation.scoring.overlap import rouge_l
from unlearnctl.evaluation.scoring.references import Reference
from unlearnctl.evaluation.scoring.token_scores import Prompt, encode_pairs, greedy_replies, score_rows
from unlearnctl.evaluation.suites.question_suite import QuestionSuite
from unlearnctl.evaluation.suites.tofu_metrics import (
    extraction_strength,
    forget_quality,
    model_utility,
    probability,
    truth_ratio,
    without_end,
)
from unlearnctl.evaluation.suites.truth_ratios import read_truth_ratios, write_truth_ratios
from unlearnctl.results.metric import Metric
from unlearnctl.results.statistics import mean
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

T = TypeVar("T")
SETS = ("forget", "retain", "real_authors", "world_facts")
OPTIONS = ("real_authors", "world_facts")  # sets whose probability is normalised over the wrong answers


@dataclass(frozen=True)
class Measured:
    """What is measured per question of one set; the metrics are means of these."""

    probability: list[float]
    rouge: list[float]
    truth_ratio: list[float]
    truth: list[float]  # max(0, 1 − truth ratio), by the mean that the suite asks for
    extraction: list[float]
    memorised: list[float]
    replies: list[str]


class TofuSuite(QuestionSuite):
    """Forget quality, model utility, and what they are made of, for the sets forget, retain, real_authors, world_facts.

    A set is a file of TOFU's own format: question, answer, perturbed_answer (a list of wrong ones) and
    paraphrased_answer, for which the answer stands in where a row has none.

    Args:
        path: hub id, or a folder with one file a set.
        forget, retain, real_authors, world_facts: name of the hub configuration or file; null leaves a set out, and
            without one of the last three there is no model utility.
        reference: what forget quality compares with: the folder of a model that never saw the forget set, or a file
            that another evaluation wrote with `save`. Null: no forget quality.
        save: write the forget set's truth ratios there, to serve as a reference.
        prompt, chat: how a question is put (see `Prompt`).
        stop: a reply ends at the first of these.
        append_eos: the end token is part of every answer that is scored, as the authors have it.
        truth_mean: of the wrong answers' probabilities in `*_truth`: arithmetic (locuslab/tofu, utils.py) or geometric
            (OpenUnlearning, and aggregate_eval_stat.py of locuslab/tofu).
    """

    def __init__(
        self,
        path: str,
        forget: str = "forget10_perturbed",
        retain: str | None = "retain_perturbed",
        real_authors: str | None = "real_authors_perturbed",
        world_facts: str | None = "world_facts_perturbed",
        reference: str | None = None,
        save: str | None = None,
        prompt: str = "Question: {question}\nAnswer:",
        chat: bool = False,
        split: str = "train",
        revision: str | None = None,
        limit: PositiveInt | None = None,
        max_length: Tokens = 512,
        max_new_tokens: Tokens = 200,
        batch_size: PositiveInt = 16,
        stop: Sequence[str] = (),
        append_eos: bool = True,
        truth_mean: Literal["arithmetic", "geometric"] = "arithmetic",
        key: str = "eval.tofu",
    ) -> None:
        self.append_eos, self.truth_mean = append_eos, truth_mean
        self.names = dict(zip(SETS, (forget, retain, real_authors, world_facts), strict=True))
        self.path, self.split, self.revision, self.limit, self.key = path, split, revision, limit, key
        self.reference, self.save, self.prompt, self.stop = reference, save, Prompt(prompt, chat), tuple(stop)
        self.max_length, self.max_new_tokens, self.batch_size = max_length, max_new_tokens, batch_size

    def read_sets(self) -> dict[str, list[Item]]:
        """Read the questions of each set that has a file."""
        texts, lists = ("question", "answer"), ("perturbed_answer",)
        return {
            name: read_items(
                self.path, file, self.split, f"{self.key}.{name}", texts, lists, self.limit, self.revision
            )
            for name, file in self.names.items()
            if file is not None
        }

    def validate(self) -> None:
        """Check that every file is complete, and the reference a model folder or truth ratios of the same questions."""
        super().validate()
        if self.reference is not None:
            if self.reference.endswith(".json"):
                self._saved()
            else:
                Reference(self.reference, f"{self.key}.reference").validate()
        if self.save is not None and not Path(self.save).absolute().parent.is_dir():
            raise UserError(f"{self.key}.save={self.save}: its folder does not exist")

    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Check that it has what the prompts need, and the end token.

        Raises:
            UserError: what it lacks.
        """
        super().check_tokenizer(tokenizer)
        if self.append_eos and tokenizer.eos_token_id is None:
            raise UserError(f"{self.key}.append_eos=true: the tokenizer has no end token; set it to false")

    def run(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, answers: Answers
    ) -> dict[str, Metric]:
        """Compute all metrics; n counts questions."""
        self.check_tokenizer(tokenizer)
        sets = {name: self._measure(name, model, tokenizer, answers) for name in self.sets}
        forget = sets["forget"]
        found = {
            "forget_probability": mean(forget.probability, "forget", "lower"),
            "forget_rouge": mean(forget.rouge, "forget", "lower").showing(self._asked(), forget.replies),
            # The authors' form for the forget set: 1 where right and wrong answers are equally likely.
            "forget_truth_ratio": mean([min(r, 1 / r) for r in forget.truth_ratio], "forget", "higher"),
            "extraction_strength": mean(forget.extraction, "forget", "lower"),
            "exact_memorisation": mean(forget.memorised, "forget", "lower"),
        }
        if self.reference is not None:
            theirs = self._theirs(self.reference, model, tokenizer)
            found["forget_quality"] = forget_quality(forget.truth_ratio, theirs)
        parts = {
            f"{name}_{part}": getattr(sets[name], part)
            for name in SETS[1:]
            if name in sets
            for part in ("probability", "rouge", "truth")
        }
        if all(name in sets for name in SETS[1:]):
            found["model_utility"] = model_utility(list(parts.values()))
        found |= {name: mean(values, "retain", "higher") for name, values in parts.items()}
        known = vocabulary(tokenizer, [f"{i['question']} {i['answer']}" for i in self.sets["forget"]])
        if self.save is not None and answers.rank == 0:
            write_truth_ratios(Path(self.save), self._asked(), forget.truth_ratio, self.append_eos)
        return found | reply_metrics(forget.replies, known, "forget_")

    def _measure(
        self, name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, answers: Answers
    ) -> Measured:
        items = self.sets[name]
        plain, special = self._texts(items, tokenizer), not self.prompt.chat
        rows = encode_pairs(
            tokenizer, plain.prompts, plain.texts, self.max_length, self.key, special, self.append_eos
        )
        scores = score_rows(answers, lambda: model, rows, self.batch_size, self.key)
        told, para, wrong = plain.split(scores)
        end = tokenizer.eos_token_id if self.append_eos else None
        words = [without_end(t, row, end) for t, row in zip(told, plain.split(rows)[0], strict=True)]
        asked = [self.prompt.put(i["question"], tokenizer) for i in items]
        replies = greedy_replies(
            answers, model, tokenizer, asked, self.max_new_tokens, self.batch_size, special, self.stop
        )
        options = name in OPTIONS
        return Measured(
            [probability(t, w if options else ()) for t, w in zip(told, wrong, strict=True)],
            rouge_l([i["answer"] for i in items], replies, "recall", stemmer=True),
            [truth_ratio(p, w) for p, w in zip(para, wrong, strict=True)],
            [max(0.0, 1 - truth_ratio(p, w, self.truth_mean)) for p, w in zip(para, wrong, strict=True)],
            [extraction_strength(t) for t in words],
            [sum(t.hit) / len(t.hit) for t in words],
            replies,
        )

    def _texts(self, items: Sequence[Item], tokenizer: PreTrainedTokenizerBase) -> Flat:
        prompts, texts, counts = [], [], []
        for item in items:
            here = [
                item["answer"],
                item.get("paraphrased_answer") or item["answer"],
                *item["perturbed_answer"],
            ]
            prompts += [self.prompt.put(item["question"], tokenizer)] * len(here)
            texts += here
            counts.append(len(here))
        return Flat(prompts, texts, counts)

    def _theirs(
        self, reference: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> list[float]:
        if reference.endswith(".json"):
            return self._saved()
        other = Reference(reference, f"{self.key}.reference")
        flat = self._texts(self.sets["forget"], tokenizer)
        scores = other.scores(
            flat.prompts,
            flat.texts,
            self.max_length,
            self.batch_size,
            model,
            not self.prompt.chat,
            self.append_eos,
        )
        _, para, wrong = flat.split(scores)
        return [truth_ratio(p, w) for p, w in zip(para, wrong, strict=True)]

    def _saved(self) -> list[float]:
        return read_truth_ratios(str(self.reference), self.key, self._asked(), self.append_eos)

    def _asked(self) -> list[str]:
        return [i["question"] for i in self.sets["forget"]]


@dataclass(frozen=True)
class Flat:
    """The answer, its paraphrase and the wrong answers of every question, one after the other."""

    prompts: list[str]
    texts: list[str]
    counts: list[int]

    def split(self, scores: Sequence[T]) -> tuple[list[T], list[T], list[list[T]]]:
        """Split into those of the answers, of the paraphrases, and of the wrong answers, by question."""
        starts = np.cumsum([0, *self.counts]).tolist()
        mine = [list(scores[a:b]) for a, b in itertools.pairwise(starts)]
        return [m[0] for m in mine], [m[1] for m in mine], [m[2:] for m in mine]
