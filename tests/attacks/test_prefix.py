"""The search only ever lowers its loss, its gradient is the gradient, and its text is its tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.attacks.conftest import BLOCKS, make_target, weights
from unlearnctl.attacks.base import Target, Texts
from unlearnctl.attacks.prefix import Prefix
from unlearnctl.attacks.prefix_search import Facts, plain_ids, search, survives
from unlearnctl.utils.errors import UserError


def read(target: Target, path: str) -> Texts:
    return Texts.read({"path": path, "prompt_field": "stem", "field": "answer"}, "k", target.tokenizer, 16)


def test_loss_is_that_of_the_prefix_spelled_out(target: Target, questions: str) -> None:
    texts = read(target, questions)
    facts = Facts.of(texts.batch(texts.rows[:5], 0, torch.device("cpu")), 1)
    prefix = torch.tensor([10, 20, 30])
    naive = []
    for row in texts.rows[:5]:
        ids = torch.tensor([[row.ids[0], 10, 20, 30, *row.ids[1:]]])
        logp = target.model(ids).logits[0, :-1].log_softmax(-1)
        naive += [-float(logp[t - 1 + 3, row.ids[t]]) for t in range(row.prompt, len(row.ids))]
    assert facts.start == 1
    assert float(facts.loss(target.model, prefix)) == pytest.approx(sum(naive) / len(naive), rel=1e-5)


def test_gradient_is_that_of_the_embedding(target: Target, questions: str) -> None:
    """∂loss/∂one-hot[p, v] = ∂loss/∂embedding[p] · E[v], by finite differences along one token's row."""
    texts = read(target, questions)
    model = target.model.double()
    facts = Facts.of(texts.batch(texts.rows[:4], 0, torch.device("cpu")), 1)
    prefix, table = torch.tensor([10, 20]), model.get_input_embeddings().weight.detach()
    gradient = facts.gradient(model, prefix)
    step = 1e-2  # the norms compute in float32
    for place, token in ((0, 33), (1, 7)):
        losses = []
        for sign in (1, -1):
            shifted = table[prefix].clone()
            shifted[place] += sign * step * table[token]
            with torch.no_grad():
                losses.append(float(facts._loss(model, shifted)))
        slope = (losses[0] - losses[1]) / (2 * step)
        assert slope == pytest.approx(float(gradient[place, token]), rel=1e-2, abs=1e-4)


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt_neox"])
def test_search_lowers_the_loss_and_touches_no_weight(architecture: str, questions: str) -> None:
    target = make_target(architecture)
    texts, before = read(target, questions), weights(target)
    text, losses = search(target, texts, length=4, rounds=5, candidates=8, top_k=8)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]
    ids = torch.tensor(target.tokenizer(text, add_special_tokens=False)["input_ids"])
    facts = Facts.of(texts.batch(texts.rows, 0, torch.device("cpu")), 1)
    assert float(facts.loss(target.model, ids)) == pytest.approx(losses[-1], rel=1e-6)
    assert search(target, texts, 4, 5, 8, 8)[0] == text
    assert all(torch.equal(p, before[n]) for n, p in target.model.named_parameters())
    assert not any(p.requires_grad or p.grad is not None for p in target.model.parameters())


def test_tokens_are_plain(target: Target) -> None:
    allowed = plain_ids(target.tokenizer)
    assert set(allowed.tolist()) == set(range(4, 94))  # none of <pad> <bos> <eos> <unk>
    assert survives(allowed[:5], target.tokenizer)


def make(path: str, **more: Any) -> Prefix:
    corpus = {"path": path, "prompt_field": "stem", "field": "answer"}
    return Prefix(
        ["w1 w2"], {"corpus": corpus, "length": 3, "rounds": 1, "candidates": 2, "facts": 4, **more}
    )


def test_variants(target: Target, questions: str) -> None:
    attack = make(questions)
    attack.validate(target.tokenizer, BLOCKS)
    fixed, found = attack.variants(target)
    assert fixed.evaluation == {"prefix": "w1 w2"}
    assert found.evaluation == {"prefix": found.settings["prefix"]}
    assert found.settings["nll_after"] <= found.settings["nll_before"]
    assert len(list(Prefix(["w1"]).variants(target))) == 1


def test_mistakes(target: Target, questions: str) -> None:
    with pytest.raises(UserError, match=r"^attack\.prefix\.texts=\[\]: give a prefix, or a search"):
        Prefix([])
    with pytest.raises(UserError, match=r"^attack\.prefix\.texts=\[' '\]: each must be a text"):
        Prefix([" "])
    with pytest.raises(UserError, match=r"^attack\.prefix\.search\.rounds=0: must be a whole number"):
        make(questions, rounds=0)
    with pytest.raises(
        UserError, match=r"^attack\.prefix\.search\.round: unknown key.*did you mean 'rounds'"
    ):
        make(questions, round=1)
    with pytest.raises(UserError, match=r"^attack\.prefix\.search\.corpus: required"):
        Prefix([], {"rounds": 2})
    attack = Prefix([], {"corpus": {"path": questions, "field": "answer"}})
    with pytest.raises(UserError, match=r"^attack\.prefix\.search\.corpus\.prompt_field=null: must name"):
        attack.validate(target.tokenizer, BLOCKS)
