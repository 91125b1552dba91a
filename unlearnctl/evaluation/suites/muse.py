"""MUSE (Shi et al. 2024, arXiv 2407.06460): verbatim and knowledge memorisation, and privacy leakage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import PositiveInt

from unlearnctl.evaluation.collapse import reply_metrics, vocabulary
from unlearnctl.evaluation.items import Item, Tokens, read_items
from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.evaluation.scoring.overlap import rouge_l
from unlearnctl.evaluation.scoring.references import Reference
from unlearnctl.evaluation.scoring.token_scores import (
    Prompt,
    TokenScores,
    encode_pairs,
    greedy_replies,
    score_rows,
)
from unlearnctl.evaluation.suites.membership import Share, auc, familiarity
from unlearnctl.evaluation.suites.question_suite import QuestionSuite
from unlearnctl.results.metric import Metric
from unlearnctl.results.statistics import mean

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# configuration, split, and what a row holds
SETS = {
    "verbmem": ("verbmem", "forget", ("prompt", "gt")),
    "forget_qa": ("knowmem", "forget_qa", ("question", "answer")),
    "retain_qa": ("knowmem", "retain_qa", ("question", "answer")),
    "forget": ("privleak", "forget", ("text",)),
    "holdout": ("privleak", "holdout", ("text",)),
}


EXAMPLES = {
    f"{side}_qa_icl": ("knowmem", f"{side}_qa_icl", ("question", "answer")) for side in ("forget", "retain")
}


class MuseSuite(QuestionSuite):
    """`verbatim` (ROUGE-L F1 of the greedy continuation of forget texts), `knowledge_forget` and `knowledge_retain`
    (ROUGE-L of answers), `min_k_auc`, and `privleak` where there is a reference.

    MUSE's scalability and sustainability are sweeps of runs, not metrics of one model.

    Args:
        path: hub id (muse-bench/MUSE-News, muse-bench/MUSE-Books), or a folder with `verbmem/forget.jsonl`,
            `knowmem/{forget_qa,retain_qa}.jsonl` and `privleak/{forget,holdout}.jsonl`.
        reference: folder of the model that was trained without the forget set.
        k: share of least likely tokens; MUSE takes 0.4.
        qa_part: of ROUGE-L of answers: fmeasure, as in the authors' code, or recall.
        icl: put the questions and answers of `knowmem/{forget,retain}_qa_icl` first, as the authors do.
        prompt, chat: how a question is put; `stop`: an answer ends at the first of these.
    """

    def __init__(
        self,
        path: str,
        reference: str | None = None,
        k: Share = 0.4,
        qa_part: Literal["recall", "fmeasure"] = "fmeasure",
        icl: bool = False,
        prompt: str = "Question: {question}\nAnswer:",
        chat: bool = False,
        stop: Sequence[str] = ("\n\n", "\nQuestion", "Question:"),
        revision: str | None = None,
        limit: PositiveInt | None = None,
        max_length: Tokens = 2048,
        verbatim_tokens: Tokens = 128,
        max_new_tokens: Tokens = 32,
        batch_size: PositiveInt = 8,
        key: str = "eval.muse",
    ) -> None:
        self.path, self.revision, self.limit, self.key = path, revision, limit, key
        self.k, self.qa_part, self.icl = k, qa_part, icl
        self.reference = None if reference is None else Reference(reference, f"{key}.reference")
        self.prompt, self.stop, self.max_length = Prompt(prompt, chat), tuple(stop), max_length
        self.verbatim_tokens, self.max_new_tokens = verbatim_tokens, max_new_tokens
        self.batch_size = batch_size

    def read_sets(self) -> dict[str, list[Item]]:
        """Read the rows of each set."""
        wanted = {**SETS, **EXAMPLES} if self.icl else SETS
        return {
            name: read_items(
                self.path, config, split, f"{self.key}.{name}", texts, (), self.limit, self.revision
            )
            for name, (config, split, texts) in wanted.items()
        }

    def validate(self) -> None:
        """Check that every set is complete and the reference is a model folder."""
        super().validate()
        if self.reference is not None:
            self.reference.validate()

    def run(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, answers: Answers
    ) -> dict[str, Metric]:
        """Compute all metrics; n counts texts."""
        self.check_tokenizer(tokenizer)
        found = {"verbatim": self._verbatim(model, tokenizer, answers)}
        for side, goal in (("forget", "lower"), ("retain", "higher")):
            items = self.sets[f"{side}_qa"]
            replies = self._answers(side, model, tokenizer, answers)
            found[f"knowledge_{side}"] = mean(
                rouge_l([i["answer"] for i in items], replies, self.qa_part, stemmer=False), side, goal
            ).showing([i["question"] for i in items], replies)
            if side == "forget":
                known = vocabulary(tokenizer, [f"{i['question']} {i['answer']}" for i in items])
                found |= reply_metrics(replies, known, "forget_")
        return found | self._leakage(model, tokenizer, answers)

    def _verbatim(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, answers: Answers
    ) -> Metric:
        items, tokens = self.sets["verbmem"], self.verbatim_tokens
        ids = tokenizer([i["gt"] for i in items], add_special_tokens=False)["input_ids"]
        truths = tokenizer.batch_decode([row[:tokens] for row in ids], skip_special_tokens=True)
        prompts = [i["prompt"] for i in items]
        # a continuation may be no longer than its truth, or precision would measure when the model stops
        replies = greedy_replies(answers, model, tokenizer, prompts, tokens, self.batch_size)
        replies = _cut_like(replies, [row[:tokens] for row in ids], tokenizer)
        found = mean(rouge_l(truths, replies, "fmeasure", stemmer=False), "forget", "lower")
        return found.showing(prompts, replies)

    def _answers(
        self, side: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, answers: Answers
    ) -> list[str]:
        first = "".join(
            f"{self.prompt.template.replace('{question}', i['question'])} {i['answer']}\n\n"
            for i in self.sets.get(f"{side}_qa_icl", ())
        )
        prompts = [self.prompt.put(i["question"], tokenizer, first) for i in self.sets[f"{side}_qa"]]
        return greedy_replies(
            answers,
            model,
            tokenizer,
            prompts,
            self.max_new_tokens,
            self.batch_size,
            not self.prompt.chat,
            self.stop,
        )

    def _leakage(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, answers: Answers
    ) -> dict[str, Metric]:
        texts = [row["text"] for name in ("forget", "holdout") for row in self.sets[name]]
        split, prompts = len(self.sets["forget"]), [""] * len(texts)
        rows = encode_pairs(tokenizer, prompts, texts, self.max_length, self.key)
        scores = score_rows(answers, lambda: model, rows, self.batch_size, self.key)
        ours = self._auc(scores, texts, split)
        if self.reference is None:
            return {"min_k_auc": ours}
        theirs = self.reference.scores(prompts, texts, self.max_length, self.batch_size, model)
        return {"min_k_auc": ours, "privleak": privleak(ours, self._auc(theirs, texts, split))}

    def _auc(self, scores: Sequence[TokenScores], texts: Sequence[str], split: int) -> Metric:
        values = [familiarity("min_k", s, t, self.k) for s, t in zip(scores, texts, strict=True)]
        return auc(values[:split], values[split:])


def _cut_like(
    replies: Sequence[str], truths: Sequence[list[int]], tokenizer: PreTrainedTokenizerBase
) -> list[str]:
    ids = tokenizer(list(replies), add_special_tokens=False)["input_ids"]
    cut = [row[: len(truth)] for row, truth in zip(ids, truths, strict=True)]
    return list(tokenizer.batch_decode(cut, skip_special_tokens=True))


def privleak(ours: Metric, theirs: Metric) -> Metric:
    """Return 100 · (A − A_r)/A_r, A = 1 − AUC of members.

    MUSE counts non-members as positives, and its table gives the model before unlearning about −100.

    0 is the goal; well below, forget texts are still known; well above, they are less likely than unseen ones
    (over-unlearning). The error is ours alone: the reference's is one more reason for doubt. Where the reference
    gives all members away, A_r = 0, the metric is not defined (NaN).
    """
    base = 1 - theirs.value
    value = 100 * (1 - ours.value - base) / base if base > 0 else float("nan")
    error = 100 * ours.stderr / base if base > 0 and ours.stderr is not None else None
    return Metric(value, error, ours.n, 0.0, "forget", "chance")
