"""Tensor functions against plain torch and by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.models.tiny import VOCABULARY, make_batch
from unlearnctl.ops.logprobs import kl_divergence, prediction_mask, token_logprobs
from unlearnctl.ops.masked import masked_mean
from unlearnctl.ops.vectors import cosine, mean_square, norm_ratio, unit_uniform


def test_masked_mean_ignores_what_padding_holds() -> None:
    values = torch.tensor([[1.0, 2.0, float("nan")], [float("inf"), 4.0, 5.0]])
    mask = torch.tensor([[True, True, False], [False, True, True]])
    assert masked_mean(values, mask).item() == pytest.approx(3.0)
    assert masked_mean(values, mask, 24).item() == pytest.approx(0.5)


def test_vectors_by_hand() -> None:
    x, y = torch.tensor([[[3.0, 4.0]]]), torch.tensor([[[4.0, 3.0]]])
    assert mean_square(x, y).item() == pytest.approx(1.0)
    assert cosine(x, y).item() == pytest.approx(0.96)
    assert norm_ratio(2 * x, y).item() == pytest.approx(2.0)
    u = unit_uniform(3, 16, torch.Generator().manual_seed(0))
    torch.testing.assert_close(u.norm(dim=-1), torch.ones(3))
    assert torch.equal(u, unit_uniform(3, 16, torch.Generator().manual_seed(0)))


def test_kl_is_torchs() -> None:
    p, q = torch.randn(2, 2, 5, 11)
    theirs = F.kl_div(p.log_softmax(-1), q.log_softmax(-1), log_target=True, reduction="none").sum(-1)
    torch.testing.assert_close(kl_divergence(p, q), theirs)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("chunk", [1, 7, 4096])
def test_chunks_change_neither_values_nor_gradients(side: str, chunk: int) -> None:
    batch = make_batch(side=side)
    head = torch.nn.Linear(8, VOCABULARY)
    hidden = torch.randn(3, 20, 8, requires_grad=True)
    ours = token_logprobs(head, hidden, batch.labels, batch.attention_mask, chunk)
    gather = batch.input_ids[:, 1:, None]
    plain = F.pad(head(hidden).log_softmax(-1)[:, :-1].gather(-1, gather)[..., 0], (1, 0))
    counted = prediction_mask(batch.labels, batch.attention_mask)
    plain = torch.where(counted, plain, 0.0)
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)
    grads = [torch.autograd.grad(x.sum(), [hidden, head.weight], retain_graph=True) for x in (ours, plain)]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_no_prediction_at_all_is_zero() -> None:
    batch = make_batch((1, 1), width=1)
    hidden = torch.randn(2, 1, 8)
    out = token_logprobs(torch.nn.Linear(8, VOCABULARY), hidden, batch.labels, batch.attention_mask)
    assert torch.equal(out, torch.zeros(2, 1))
