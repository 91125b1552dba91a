"""The look at token norms: equal to a plain pass over each text, and it finds a sink where one is planted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.models.tiny import tiny_model
from unlearnctl.data.encode import Row
from unlearnctl.data.streams import ForgetRetain
from unlearnctl.models.partial.decoder import Decoder
from unlearnctl.models.skeleton import find_blocks
from unlearnctl.objectives.token_norms import TokenNorms
from unlearnctl.probes.norms import token_norms

LAYERS = (1, 4)


def rows(first: int, prompt: int = 0) -> list[Row]:
    """Eight texts of 4 to 11 tokens, the first `prompt` of which do not count."""
    return [Row(list(range(first + n, first + 2 * n + 4)), prompt, n) for n in range(8)]


def data(side: str = "right", prompt: int = 0) -> ForgetRetain:
    topics = {"forget": {"all": rows(3)}, "retain": {"all": rows(20, prompt)}}
    return ForgetRetain(topics, 0, side, True, 0, "")


def plain(prompt: int) -> Iterator[tuple[int, torch.Tensor]]:
    """Position and norms [L] of every token that counts, text by text in Hugging Face's own pass."""
    model = tiny_model("llama").eval()
    for row in [*rows(3), *rows(20, prompt)]:
        with torch.no_grad():
            states = model(torch.tensor([row.ids]), output_hidden_states=True).hidden_states
        for place in range(row.prompt, len(row.ids)):
            yield place, torch.stack([states[layer + 1][0, place].norm() for layer in LAYERS])


@pytest.mark.parametrize(("side", "size", "prompt"), [("right", 8, 0), ("left", 4, 0), ("right", 2, 2)])
def test_medians_are_those_of_plain_passes(side: str, size: int, prompt: int) -> None:
    model = tiny_model("llama").eval()
    found = token_norms(Decoder(model, find_blocks(model)), data(side, prompt), LAYERS, batch_size=size)
    known = list(plain(prompt))
    expected = torch.stack([norms for _, norms in known]).median(0).values
    torch.testing.assert_close(found.median, expected)
    for position in range(found.by_position.shape[1]):
        there = torch.stack([norms for place, norms in known if place == position]).median(0).values
        torch.testing.assert_close(found.by_position[:, position], there)


def test_a_planted_sink_is_found() -> None:
    model = tiny_model("llama").eval()
    with torch.no_grad():
        model.model.embed_tokens.weight[3] *= 1000  # the token that each text begins with
    texts = {
        side: {"all": [Row([3, *range(30, 40)], 0, n) for n in range(8)]} for side in ("forget", "retain")
    }
    made = ForgetRetain(texts, 0, "left", True, 0, "")
    held = TokenNorms(LAYERS, 10.0)
    held.take_norms(token_norms(Decoder(model, find_blocks(model)), made, LAYERS))
    assert held.sink_positions.tolist() == [[True, False, False, False]] * 2
