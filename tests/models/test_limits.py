"""How long a text may be, for each way in which configs say it."""

from __future__ import annotations

import pytest
from transformers import AutoConfig

from tests.models.tiny import tiny_config
from unlearnctl.models.limits import check_length, positions
from unlearnctl.utils.errors import UserError

YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 256}


@pytest.mark.parametrize(
    ("kind", "settings", "most"),
    [
        ("llama", {"max_position_embeddings": 256}, 256),
        ("gpt2", {"n_positions": 256}, 256),
        ("gptj", {"n_positions": 128}, 128),
        ("opt", {"max_position_embeddings": 64}, 64),
        ("ctrl", {"n_positions": 200}, 200),
        ("mpt", {"max_seq_len": 300}, 300),
        ("xglm", {"max_position_embeddings": 100}, 100),
        (
            "mistral",
            {"max_position_embeddings": 512, "sliding_window": 8},
            512,
        ),  # each layer's reach is not the limit
        ("llama", {"max_position_embeddings": 256, "rope_parameters": YARN}, 1024),
        ("llama", {"max_position_embeddings": 1024, "rope_parameters": YARN}, 1024),
        ("llama", {"max_position_embeddings": 256, "rope_parameters": {**YARN, "rope_type": "default"}}, 256),
        ("falcon", {"alibi": True}, None),
        ("bloom", {}, None),
        ("mamba", {}, None),
        ("xlnet", {}, None),
    ],
)
def test_positions(kind: str, settings: dict, most: int | None) -> None:
    assert positions(AutoConfig.for_model(kind, **settings)) == most


def test_a_text_decoder_inside_another_model_has_its_own() -> None:
    assert positions(tiny_config("gemma3")) == 256


def test_the_line() -> None:
    config = tiny_config("llama")
    check_length("data.max_length", 256, config)
    check_length("data.forget.max_length", None, config)
    check_length("data.max_length", 10**6, AutoConfig.for_model("bloom"))
    with pytest.raises(UserError) as caught:
        check_length("data.max_length", 257, config)
    assert str(caught.value) == "data.max_length=257: this model reads 256 positions at most"
