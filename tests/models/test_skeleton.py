"""Names and shapes without storage are those of the real model."""

from __future__ import annotations

import pytest

from tests.models.tiny import tiny_config, tiny_model
from unlearnctl.models.skeleton import skeleton
from unlearnctl.utils.errors import UserError


def test_skeleton_knows_the_real_parameters(architecture: str) -> None:
    shape, model = skeleton(tiny_config(architecture)), tiny_model(architecture)
    real = {n: tuple(p.shape) for n, p in model.named_parameters(remove_duplicate=False)}
    assert dict(shape.shapes) == real
    assert shape.count() == sum(p.numel() for p in model.parameters())
    assert shape.num_blocks == 6
    assert shape.hidden_size == 32
    assert len(shape.mlp_outputs(3)) == 1
    assert shape.mlp_outputs(3)[0] in real
    assert bool(shape.tied) == (architecture in ("qwen2", "gemma2"))


def test_wrong_blocks_path() -> None:
    with pytest.raises(UserError, match=r"^model\.blocks=model\.layer: not a block list"):
        skeleton(tiny_config("llama"), "model.layer")


@pytest.mark.parametrize(
    ("kind", "block", "names"),
    [
        ("mixtral", 1, ["mlp.experts.down_proj"]),
        ("qwen3_moe", 1, ["mlp.experts.down_proj"]),
        ("gpt_oss", 1, ["mlp.experts.down_proj"]),
        ("qwen2_moe", 1, ["mlp.experts.down_proj", "mlp.shared_expert.down_proj.weight"]),
        ("deepseek_v3", 0, ["mlp.down_proj.weight"]),
        ("deepseek_v3", 1, ["mlp.experts.down_proj", "mlp.shared_experts.down_proj.weight"]),
        ("gpt2", 1, ["mlp.c_proj.weight"]),
        ("opt", 1, ["fc2.weight"]),
        ("mpt", 1, ["ffn.down_proj.weight"]),
        ("gptj", 1, ["mlp.fc_out.weight"]),
        ("gemma3", 1, ["mlp.down_proj.weight"]),
        ("mamba", 1, []),
    ],
)
def test_where_the_mlp_writes(kind: str, block: int, names: list[str]) -> None:
    shape = skeleton(tiny_config(kind))
    assert shape.mlp_outputs(block) == [f"{shape.blocks}.{block}.{name}" for name in names]


def test_linear_weights_are_distinguished_from_other_matrices() -> None:
    shape = skeleton(tiny_config("mixtral"))
    assert "model.layers.0.self_attn.q_proj.weight" in shape.linear
    assert "model.layers.0.mlp.gate.weight" not in shape.linear
    assert "model.embed_tokens.weight" not in shape.linear
    assert "transformer.h.0.attn.c_attn.weight" in skeleton(tiny_config("gpt2")).linear
