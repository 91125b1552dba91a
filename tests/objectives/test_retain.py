"""Retain terms against naive loops and torch's own KL."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.built import built
from tests.objectives.harness import naive_sequence_logprobs, tokens, view
from unlearnctl.objectives.base import RetainTerm
from unlearnctl.objectives.retain import KL, NLL, EmbedDiff
from unlearnctl.utils.errors import UserError


def test_nll() -> None:
    v = view(2)
    flat = [x for row in naive_sequence_logprobs(v, v.policy) for x in row]
    assert NLL()(v).item() == pytest.approx(-sum(flat) / len(flat), rel=1e-5)


def test_kl() -> None:
    v = view(2)
    assert v.policy.logits is not None
    assert v.reference.logits is not None
    total, count = 0.0, 0
    for b, n in enumerate(v.batch.attention_mask.sum(-1).tolist()):
        for t in range(n - 1):  # right padding: positions that predict a real token
            p, q = v.policy.logits[b, t].log_softmax(0), v.reference.logits[b, t].log_softmax(0)
            total += float(F.kl_div(p, q, log_target=True, reduction="sum"))
            count += 1
    assert KL()(v).item() == pytest.approx(total / count, rel=1e-5)


def test_kl_of_a_model_with_itself_is_zero() -> None:
    v = view(2)
    same = type(v)(v.batch, v.policy, v.policy)
    assert KL()(same).item() == pytest.approx(0.0, abs=1e-6)


def test_embed_diff() -> None:
    v = view(2)
    per_layer = []
    for layer in (1, 4):
        pairs = zip(tokens(v, v.hidden[layer]), tokens(v, v.reference.hidden[layer]), strict=True)
        squares = [(h - h0).square().mean() for h, h0 in pairs]
        per_layer.append(sum(squares) / len(squares))
    torch.testing.assert_close(EmbedDiff([1, 4])(v), sum(per_layer) / 2)


@pytest.mark.parametrize("term", [NLL(), KL(), EmbedDiff([1, 4])], ids=["nll", "kl", "embed_diff"])
def test_invariances(term: RetainTerm) -> None:
    whole = term(view(2))
    for other in (view(2, side="left"), view(2, width=17)):
        torch.testing.assert_close(term(other), whole, atol=1e-6, rtol=1e-6)
    parts = term(view(2, rows=slice(0, 1))) + term(view(2, rows=slice(1, 4)))
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-6)


def test_embed_diff_refuses_no_layers() -> None:
    with pytest.raises(UserError, match=r"objective\.retain\.layers=\[\]"):
        built("objective.retain", EmbedDiff, [])
