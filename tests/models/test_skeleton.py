"""Names and shapes without storage are those of the real model."""

from __future__ import annotations

import pytest

from tests.models.tiny import tiny_config, tiny_model
from unlearnctl.errors import UserError
from unlearnctl.models.skeleton import skeleton


def test_skeleton_knows_the_real_parameters(architecture: str) -> None:
    shape, model = skeleton(tiny_config(architecture)), tiny_model(architecture)
    real = {n: tuple(p.shape) for n, p in model.named_parameters(remove_duplicate=False)}
    assert dict(shape.shapes) == real
    assert shape.count() == sum(p.numel() for p in model.parameters())
    assert shape.num_blocks == 6
    assert shape.hidden_size == 32
    assert any(f"{shape.blocks}.3.{shape.mlp_out}.weight" == n for n in real)
    assert bool(shape.tied) == (architecture in ("qwen2", "gemma2"))


def test_wrong_blocks_path() -> None:
    with pytest.raises(UserError, match=r"^model\.blocks=model\.layer: not a block list"):
        skeleton(tiny_config("llama"), "model.layer")
