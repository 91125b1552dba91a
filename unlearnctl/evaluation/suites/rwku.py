"""RWKU (Jin et al. 2024, arXiv 2406.10890): probes at three levels, neighbours, and membership scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import PositiveInt

from unlearnctl.evaluation.collapse import reply_metrics, vocabulary
from unlearnctl.evaluation.items import Item, Tokens, read_items
from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.evaluation.scoring.overlap import rouge_l
from unlearnctl.evaluation.scoring.token_scores import Prompt, encode_pairs, greedy_replies, score_rows
from unlearnctl.evaluation.suites.membership import Share, familiarity
from unlearnctl.evaluation.suites.question_suite import QuestionSuite
from unlearnctl.results.metric import Metric
from unlearnctl.results.statistics import mean
from unlearnctl.utils.errors import unknown

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PROBES = ("forget_level1", "forget_level2", "forget_level3", "neighbor_level1", "neighbor_level2")
MEMBERS = ("mia_forget", "mia_retain")
ATTACKS = ("loss", "zlib", "min_k", "min_k_plus")
BLANK = "Please complete the blank in the following question.\nQuestion: {question}\nAnswer:"
BRIEF = "Please briefly answer the following question.\nQuestion: {question}\nAnswer:"


class RwkuSuite(QuestionSuite):
    """ROUGE-L recall of greedy answers: `forget_level1` (fill in the blank), `forget_level2` (questions),
    `forget_level3` (adversarial; also by type where asked), `neighbor_level1`, `neighbor_level2`; and for the
    membership sets the mean score of four attacks, `mia_forget_loss` …, `mia_retain_loss` ….

    A membership score here is RWKU's, turned so that higher = less like a text that was read (mean NLL, NLL per
    compressed byte, minus Min-K %, minus Min-K % ++): forget texts should rise, retained ones stay. RWKU has no
    unseen texts to compare with, so these are no AUCs; suite `membership` gives those.

    Args:
        path: hub id (jinzhuoran/RWKU), or a folder with one file a set.
        subjects: only rows of these targets (RWKU unlearns one at a time); null = all.
        blank, prompt, chat: how level 1 and the others are put.
        by_type: one more metric for each type of adversarial probe, `forget_level3_TYPE`.
        stop: a reply ends at the first of these.
    """

    def __init__(
        self,
        path: str,
        subjects: Sequence[str] | None = None,
        blank: str = BLANK,
        prompt: str = BRIEF,
        chat: bool = True,
        by_type: bool = False,
        k: Share = 0.2,
        split: str = "test",
        revision: str | None = None,
        limit: PositiveInt | None = None,
        max_length: Tokens = 1024,
        max_new_tokens: Tokens = 30,
        batch_size: PositiveInt = 16,
        stop: Sequence[str] = ("\n",),
        key: str = "eval.rwku",
    ) -> None:
        self.path, self.split, self.revision, self.limit, self.key = path, split, revision, limit, key
        self.blank, self.prompt, self.by_type, self.k = Prompt(blank, chat), Prompt(prompt, chat), by_type, k
        self.max_length, self.max_new_tokens, self.batch_size = max_length, max_new_tokens, batch_size
        self.stop, self.subjects = tuple(stop), None if subjects is None else tuple(subjects)

    def read_sets(self) -> dict[str, list[Item]]:
        """Read the rows of each set, of the subjects asked for."""
        return {name: self._read(name) for name in (*PROBES, *MEMBERS)}

    def _read(self, name: str) -> list[Item]:
        key = f"{self.key}.{name}"
        texts = ("text",) if name in MEMBERS else ("query", "answer")
        wanted = self.subjects if name != "mia_retain" else None  # retained texts are of other people
        texts = (*texts, "subject") if wanted else texts
        limit = None if wanted else self.limit
        items = read_items(self.path, name, self.split, key, texts, (), limit, self.revision)
        for subject in wanted or ():
            if subject not in {i["subject"] for i in items}:
                raise unknown(f"{self.key}.subjects", subject, {i["subject"] for i in items})
        return [i for i in items if wanted is None or i["subject"] in wanted][: self.limit]

    def validate(self) -> None:
        """Check that every set is complete and has the subjects asked for."""
        self.blank.check(f"{self.key}.blank")
        super().validate()

    def run(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, answers: Answers
    ) -> dict[str, Metric]:
        """Compute all metrics; n counts probes, or texts."""
        self.check_tokenizer(tokenizer)
        found, forgotten = {}, []
        for name in PROBES:
            items = self.sets[name]
            replies = self._replies(name, items, model, tokenizer, answers)
            role, goal = ("forget", "lower") if name.startswith("forget") else ("retain", "higher")
            recall = rouge_l([i["answer"] for i in items], replies, "recall", stemmer=False)
            found[name] = mean(recall, role, goal).showing([i["query"] for i in items], replies)
            if name == "forget_level3" and self.by_type:
                found |= _by_type(items, recall)
            forgotten += replies if role == "forget" else []
        for name, goal in zip(MEMBERS, ("higher", "lower"), strict=True):
            found |= self._membership(name, goal, model, tokenizer, answers)
        asked = (i for name in PROBES for i in self.sets[name])
        known = vocabulary(tokenizer, [f"{i['query']} {i['answer']}" for i in asked])
        return found | reply_metrics(forgotten, known, "forget_")

    def _replies(
        self,
        name: str,
        items: Sequence[Item],
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        answers: Answers,
    ) -> list[str]:
        way = self.blank if name.endswith("level1") else self.prompt
        prompts = [way.put(i["query"], tokenizer) for i in items]
        return greedy_replies(
            answers, model, tokenizer, prompts, self.max_new_tokens, self.batch_size, not way.chat, self.stop
        )

    def _membership(
        self,
        name: str,
        goal: str,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        answers: Answers,
    ) -> dict[str, Metric]:
        texts = [i["text"] for i in self.sets[name]]
        rows = encode_pairs(tokenizer, [""] * len(texts), texts, self.max_length, self.key)
        scores = score_rows(answers, lambda: model, rows, self.batch_size, self.key)
        role = "forget" if name == "mia_forget" else "retain"
        return {
            f"{name}_{attack}": mean(
                [-familiarity(attack, s, t, self.k) for s, t in zip(scores, texts, strict=True)], role, goal
            )
            for attack in ATTACKS
        }


def _by_type(items: Sequence[Item], values: Sequence[float]) -> dict[str, Metric]:
    groups: dict[str, list[float]] = {}
    for item, value in zip(items, values, strict=True):
        groups.setdefault(str(item.get("type") or "other").replace(" ", "_"), []).append(value)
    return {f"forget_level3_{kind}": mean(group, "forget", "lower") for kind, group in sorted(groups.items())}
