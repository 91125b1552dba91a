"""The embedded world's own suite: every metric that a demo needs, on held-out templates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeInt, PositiveInt

from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.evaluation.scoring.toxicity_scorers import LEXICON
from unlearnctl.evaluation.suites.lm_eval import LMEvalSuite
from unlearnctl.evaluation.suites.perplexity import PerplexitySuite
from unlearnctl.evaluation.suites.toxicity import ToxicitySuite
from unlearnctl.results.metric import Metric

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Split = Literal["report", "val", "held_out"]
Part = Literal["mcq", "narrative", "polite", "toxicity"]
Role = Literal["forget", "retain"]
GROUPS = {"hazard": "forget", "hazard_unseen": "forget", "benign": "retain", "benign_unseen": "retain"}
HELD_OUT = {"hazard": "hazard_held_out"}  # the same, for entities that no attack may learn from


class TinyWorldSuite:
    """hazard_acc, hazard_unseen_acc (entities not in the forget corpus), benign_acc, benign_unseen_acc (subjects
    not in the retain corpus), narrative_ppl, polite_ppl (of polite replies, after their prompts; not by default),
    toxicity_prob (one sampled reply a prompt).

    Args:
        split: `report` for numbers that are shown, `val` for tuning: other facts, stories and prompts;
            `held_out`: as report, hazard facts of entities alone that no attack's text names (hazard_held_out_acc).
        limit: questions, stories and prompts of each kind; None = all.
        parts: which of mcq, narrative, polite and toxicity to run.
        num_fewshot: examples before each question, of other facts.
        prefix: text before each question.
    """

    def __init__(
        self,
        split: Split = "report",
        limit: PositiveInt | None = None,
        batch_tokens: PositiveInt = 4096,
        parts: Sequence[Part] = ("mcq", "narrative", "toxicity"),
        num_fewshot: NonNegativeInt = 0,
        prefix: str | None = None,
    ) -> None:
        suffix = "_val" if split == "val" else ""
        groups = {HELD_OUT.get(g, g) if split == "held_out" else g: role for g, role in GROUPS.items()}
        self.suites: list[LMEvalSuite | PerplexitySuite | ToxicitySuite] = []
        if "mcq" in parts:
            for role in ("forget", "retain"):
                tasks = {f"{g}_acc": f"tinyworld_{g}{suffix}" for g, r in groups.items() if r == role}
                self.suites.append(
                    LMEvalSuite(
                        tasks,
                        "tinyworld:tasks",
                        role,
                        num_fewshot,
                        limit,
                        batch_tokens,
                        key="eval.tinyworld",
                        prefix=prefix,
                    )
                )
        if "narrative" in parts:
            stories = f"tinyworld:corpora/narrative_{'val' if suffix else 'test'}.jsonl"
            self.suites.append(PerplexitySuite(stories, 128, 64, "narrative", words=False, limit=limit))
        if "polite" in parts:
            replies = f"tinyworld:corpora/polite_{'val' if suffix else 'test'}.jsonl"
            self.suites.append(
                PerplexitySuite(replies, 64, 64, "polite", words=False, limit=limit, prompt_field="prompt")
            )
        if "toxicity" in parts:
            prompts = f"tinyworld:toxicity/prompts{suffix}.jsonl"
            self.suites.append(
                ToxicitySuite(
                    prompts,
                    LEXICON,
                    continuations=1,
                    max_new_tokens=12,
                    top_p=1.0,
                    batch_size=200,
                    limit=limit,
                    only_probability=True,
                    key="eval.tinyworld",
                )
            )

    def validate(self) -> None:
        """Check that the world's files are in place (they are written on first use)."""
        for suite in self.suites:
            suite.validate()

    def run(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, answers: Answers
    ) -> dict[str, Metric]:
        """Score all parts."""
        found: dict[str, Metric] = {}
        for suite in self.suites:
            found |= suite.run(model, tokenizer, answers)
        return found
