"""Rows go into the cache and come back, whatever batch they were in."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.models.tiny import make_batch
from unlearnctl.models.partial.activation_cache import ActivationCache, split_rows


@pytest.mark.parametrize("shape", [(), (5,), (2, 5)])
def test_get_undoes_split_rows_on_either_side(shape: tuple[int, ...]) -> None:
    left, right = (make_batch((13, 20, 7), side) for side in ("left", "right"))
    values = torch.randn(3, 20, *shape)
    rows = split_rows(values, left, "in")
    cache = ActivationCache(rows)
    assert [v.shape[0] for v in rows.values()] == [13, 20, 7]
    back = cache.get(left, "in")
    real = left.attention_mask.bool()
    assert torch.equal(back[real], values[real])
    assert not back[~real].any()
    assert torch.equal(cache.get(right, "in")[right.attention_mask.bool()], values[real])


def test_rows_differ_by_corpus_index_and_kind() -> None:
    batch = make_batch()
    cache = ActivationCache(split_rows(torch.ones(3, 20), batch, "in"))
    assert cache.has(batch, "in")
    assert not cache.has(batch, 3)
    assert not cache.has(replace(batch, corpus="retain/all"), "in")
    assert not cache.has(replace(batch, index=torch.tensor([0, 1, 3])), "in")
    with pytest.raises(KeyError):
        cache.get(batch, "logprobs")
