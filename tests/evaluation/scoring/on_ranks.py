"""Run by test_ranks: one evaluation on several gloo ranks, forked from a process that imported the libraries.

python -m tests.evaluation.scoring.on_ranks OUT WORLD [WORLD …]
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.ranks import fork_ranks
from unlearnctl import tinyworld
from unlearnctl.evaluation.evaluate import undisturbed
from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.evaluation.scoring.toxicity_scorers import LEXICON
from unlearnctl.evaluation.suites.lm_eval import LMEvalSuite
from unlearnctl.evaluation.suites.tinyworld import TinyWorldSuite
from unlearnctl.evaluation.suites.toxicity import ToxicitySuite
from unlearnctl.results.metric import Metric

LIMIT = 23  # no multiple of the ranks


def measured(answers: Answers | None = None) -> dict[str, Any]:
    """Items of each metric, and log-likelihoods of each choice, of the shipped model with noise on it."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(tinyworld.model_dir(), dtype=torch.float32)
    with torch.no_grad():
        for p in model.model.layers.parameters():
            p.add_(0.05 * torch.randn_like(p))
    tokenizer = AutoTokenizer.from_pretrained(tinyworld.model_dir())
    answers = answers or Answers()
    toxic = ToxicitySuite(
        "tinyworld:toxicity/prompts.jsonl",
        LEXICON,
        continuations=2,
        max_new_tokens=5,
        batch_size=6,
        limit=LIMIT,
    )
    with undisturbed(model, 0):
        scores = TinyWorldSuite(limit=LIMIT, parts=("mcq", "narrative")).run(model, tokenizer, answers)
        scores |= toxic.run(model, tokenizer, answers)
        shots = LMEvalSuite(
            {"h": "tinyworld_hazard"}, "tinyworld:tasks", "forget", 5, LIMIT, batch_tokens=200
        )
        results = shots._evaluate(model, tokenizer, answers)
    likelihoods = [x[0] for s in results["samples"]["tinyworld_hazard"] for x in s["filtered_resps"]]
    return {"items": {name: _items(metric) for name, metric in scores.items()}, "likelihoods": likelihoods}


def _items(metric: Metric) -> list[float]:
    assert metric.items is not None
    assert len(metric.items) == LIMIT
    return list(metric.items)


class Counting(Answers):
    """Notes how much of the work was this rank's."""

    asked = 0

    def all(self, kind: str, items: Any, work: Any, cost: Any = None) -> list[Any]:
        def counted(places: list[int]) -> Any:
            self.asked += len(places)
            return work(places)

        return super().all(kind, items, counted, cost)


def main() -> None:
    for world in sys.argv[2:]:
        fork_ranks(int(world), partial(rank, f"{sys.argv[1]}.{world}"))


def rank(out: str) -> None:
    dist.init_process_group("gloo", timeout=timedelta(seconds=120))
    answers = Counting()
    found = measured(answers)
    Path(f"{out}.{dist.get_rank()}").write_text(json.dumps(found | {"asked": answers.asked}))
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
