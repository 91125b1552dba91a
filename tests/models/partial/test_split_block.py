"""A block is cut at its one trained matrix only where that changes no bit."""

from __future__ import annotations

import pytest
import torch

from tests.models.tiny import make_batch, tiny_config, tiny_model
from unlearnctl.models.partial.decoder import Decoder
from unlearnctl.models.partial.split_block import find_cut
from unlearnctl.models.skeleton import skeleton

CUTS = {"llama", "mistral", "qwen2", "gemma2", "olmo2", "olmo3"}  # GPT-NeoX adds attention and MLP up first
AFTER = {"gemma2", "olmo2", "olmo3"}  # a norm between the matrix and the stream


def entering_block_2(architecture: str) -> tuple:
    model, shape = tiny_model(architecture), skeleton(tiny_config(architecture))
    decoder = Decoder(model, shape.blocks)
    with torch.no_grad():
        entering, calls = decoder.record(make_batch())
        hidden, _ = decoder.run(range(2), entering, calls, ())
    return (
        decoder.blocks[2],
        hidden,
        calls[2],
        shape.mlp_outputs(2)[0].removeprefix(f"{shape.blocks}.2.").removesuffix(".weight"),
    )


def test_the_output_is_the_blocks_own_after_the_matrix_has_moved(architecture: str) -> None:
    block, hidden, call, mlp_out = entering_block_2(architecture)
    matrix = block.get_submodule(mlp_out)
    cut = find_cut(block, {id(matrix.weight)}, hidden, call)
    assert (cut is not None) == (architecture in CUTS)
    if cut is None:
        return
    assert len(cut.after) == (architecture in AFTER)
    stream, x = cut.frozen(hidden, call)
    with torch.no_grad():
        matrix.weight.add_(torch.randn_like(matrix.weight))
        out = block(hidden, *call[0], **call[1])
    mine = cut.resume(stream, x)
    assert torch.equal(mine, out[0] if isinstance(out, tuple) else out)
    mine.sum().backward()
    by_cut = matrix.weight.grad.clone()
    matrix.weight.grad = None
    out = block(hidden, *call[0], **call[1])
    (out[0] if isinstance(out, tuple) else out).sum().backward()
    assert torch.equal(matrix.weight.grad, by_cut)
    assert block.get_submodule(mlp_out) is matrix


@pytest.mark.parametrize(
    "names",
    [
        ("mlp.up_proj", "mlp.down_proj"),
        ("mlp.up_proj",),
        ("self_attn.o_proj",),
        ("self_attn.q_proj",),
        ("input_layernorm",),
        ("post_attention_layernorm",),
        (),
    ],
)
def test_other_choices_run_the_block_whole(names: tuple[str, ...]) -> None:
    block, hidden, call, _ = entering_block_2("llama")
    trained = {id(block.get_submodule(name).weight) for name in names}
    assert find_cut(block, trained, hidden, call) is None


def test_a_module_called_twice_is_no_cut() -> None:
    class Twice(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.matrix = torch.nn.Linear(8, 8, bias=False)

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return hidden + self.matrix(self.matrix(hidden))

    block = Twice()
    assert find_cut(block, {id(block.matrix.weight)}, torch.randn(2, 3, 8), ((), {})) is None
