"""Rows go into a store and come back, whatever batch they were in."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.models.tiny import make_batch
from unlearnctl.models.partial.activation_cache import join, lacks, split


@pytest.mark.parametrize("shape", [(), (5,), (2, 5)])
def test_join_undoes_split_on_either_side(shape: tuple[int, ...]) -> None:
    left, right = (make_batch((13, 20, 7), side) for side in ("left", "right"))
    values = torch.randn(3, 20, *shape)
    rows = split(values, left, "in")
    assert [v.shape[0] for v in rows.values()] == [13, 20, 7]
    back = join(rows, left, "in")
    real = left.attention_mask.bool()
    assert torch.equal(back[real], values[real])
    assert not back[~real].any()
    assert torch.equal(join(rows, right, "in")[right.attention_mask.bool()], values[real])


def test_rows_are_told_apart_by_corpus_index_and_kind() -> None:
    batch = make_batch()
    rows = split(torch.ones(3, 20), batch, "in")
    assert not lacks(rows, batch, "in")
    assert lacks(rows, batch, 3)
    assert lacks(rows, replace(batch, corpus="retain/all"), "in")
    assert lacks(rows, replace(batch, index=torch.tensor([0, 1, 3])), "in")
    with pytest.raises(KeyError):
        join(rows, batch, "logprobs")
