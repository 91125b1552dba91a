"""Medians are those of `token_norms`, a planted sink is counted, texts that differ are told apart."""

from __future__ import annotations

import pytest
import torch

from tests.models.tiny import tiny_model
from unlearnctl.data.encode import Row
from unlearnctl.data.streams import ForgetRetain
from unlearnctl.models.partial.decoder import Decoder
from unlearnctl.models.skeleton import find_blocks
from unlearnctl.probes.block_look import look_at_blocks
from unlearnctl.probes.norms import token_norms


def data(prompt: int = 0) -> ForgetRetain:
    """Twelve texts of nine tokens on each side, all of which begin with token 3."""
    topics = {
        side: {"all": [Row([3, *range(start + n, start + n + 8)], prompt, n) for n in range(12)]}
        for side, start in (("forget", 5), ("retain", 40))
    }
    return ForgetRetain(topics, 0, "right", True, 0, "")


def test_norms_are_those_that_objectives_count_in() -> None:
    model = tiny_model("llama").eval()
    decoder = Decoder(model, find_blocks(model))
    blocks = len(decoder.blocks)
    looks, texts = look_at_blocks(decoder, data(), blocks, texts=12)
    expected = token_norms(decoder, data(), range(blocks), texts=12, batch_size=4).median.tolist()
    assert [look.median for look in looks] == pytest.approx(expected)
    assert [look.block for look in looks] == list(range(blocks))
    assert texts == {"forget": 12, "retain": 12}
    assert {(look.sinks, look.first) for look in looks} == {(0.0, 0.0)}
    assert max(look.apart for look in looks) > 0.9  # they have no tokens in common


@pytest.mark.parametrize(("prompt", "sinks", "first"), [(0, 1 / 9, 1.0), (1, 0.0, 0.0)])
def test_a_planted_sink_is_counted_where_it_counts(prompt: int, sinks: float, first: float) -> None:
    model = tiny_model("llama").eval()
    with torch.no_grad():
        model.model.embed_tokens.weight[3] *= 1000
    decoder = Decoder(model, find_blocks(model))
    looks, _ = look_at_blocks(decoder, data(prompt), 2, texts=12)
    assert [look.sinks for look in looks] == pytest.approx([sinks, sinks])
    assert [look.first for look in looks] == [first, first]
