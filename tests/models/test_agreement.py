"""Architectures of every kind either give in parts what they give whole, or are refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from tests.models.plain_rmu import assert_same_steps
from tests.models.tiny import SIBLINGS, make_batch, tiny_config, tiny_model
from unlearnctl.models.agreement import check_blocks
from unlearnctl.models.load import load_trunk
from unlearnctl.models.partial.tapped import TappedModel
from unlearnctl.models.skeleton import skeleton
from unlearnctl.models.spec import ModelSpec
from unlearnctl.models.trainable import lowest_block, match
from unlearnctl.objectives.base import Needs
from unlearnctl.objectives.rmu import RMU
from unlearnctl.utils.errors import UserError

REFUSED = {
    "zaya": "unlearning is not supported for ZayaForCausalLM: block 1 called alone does not give the "
    "output that it gives in the model",
    "bert": "unlearning is not supported for BertLMHeadModel: it attends to later tokens, so it is "
    "not a causal language model",
}
WORK = [name for name in SIBLINGS if name not in REFUSED]


def own_outputs(
    model: PreTrainedModel, blocks: nn.ModuleList, **inputs: torch.Tensor
) -> tuple[list, torch.Tensor]:
    """What each block gives in the model's own forward, and the logits."""
    seen: list[torch.Tensor] = []
    hooks = [
        b.register_forward_hook(
            lambda m, a, out: seen.append(out if isinstance(out, torch.Tensor) else out[0])
        )
        for b in blocks
    ]
    logits = model(**inputs, use_cache=False).logits
    for hook in hooks:
        hook.remove()
    return seen, logits


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("kind", WORK)
@torch.no_grad()
def test_in_parts_as_whole(kind: str, side: str) -> None:
    model, shape, batch = tiny_model(kind), skeleton(tiny_config(kind)), make_batch(side=side)
    check_blocks(model, shape.blocks)
    needs = Needs(layers=(0, 2, 4), logits=True, reference=True)
    names = [n for n in shape.shapes if shape.block_of(n) in (3, 4)]
    tapped = TappedModel(model, shape.blocks, names, lowest_block(names, shape), {"forget": needs})
    view = tapped({"forget": batch})["forget"]
    blocks = model.get_submodule(shape.blocks)
    theirs, logits = own_outputs(
        model, blocks, input_ids=batch.input_ids, attention_mask=batch.attention_mask
    )
    real = batch.attention_mask.bool()
    for layer in (0, 2, 4):
        assert torch.equal(view.hidden[layer], theirs[layer])
        assert torch.equal(view.reference.hidden[layer], theirs[layer])
    assert view.policy.logits is not None
    torch.testing.assert_close(view.policy.logits[real], logits[real], atol=1e-5, rtol=0)


# matrices that RMU trains in blocks 2, 3 and 4
TRAINED = {
    "falcon": 3, "bloom": 3, "gptj": 3, "opt": 3, "gemma3": 3, "mixtral": 3, "gpt_oss": 3,
    "qwen2_moe": 6, "deepseek_v3": 6,
}  # fmt: skip


@pytest.mark.parametrize("kind", TRAINED)
def test_three_rmu_steps_equal_the_plain_two_model_step(kind: str) -> None:
    objective = RMU(layer=4, steering_coeff=3.0, alpha=10.0)
    objective.setup(32, 1, torch.Generator().manual_seed(0))
    ours, theirs, shape = tiny_model(kind), tiny_model(kind), skeleton(tiny_config(kind))
    names = match(objective.trainable(shape), [n for n in shape.shapes if n not in shape.tied])
    assert len(names) == TRAINED[kind]
    tapped = TappedModel(ours, shape.blocks, names, lowest_block(names, shape), objective.needs())
    assert_same_steps(tapped, theirs, objective, steps=3)


@pytest.mark.parametrize("kind", ["falcon", "opt", "gemma3", "llava", "mamba", "deepseek_v3"])
def test_a_trunk_agrees_and_is_the_model_itself(kind: str, tmp_path: Path) -> None:
    model, shape = tiny_model(kind), skeleton(tiny_config(kind))
    assert shape.has_trunk
    model.save_pretrained(tmp_path)
    trunk = load_trunk(ModelSpec(name="t", path=str(tmp_path)), 3)
    check_blocks(trunk, shape.blocks)
    names, needs = (
        [f"{shape.blocks}.2.{n}" for n, _ in model.get_submodule(f"{shape.blocks}.2").named_parameters()],
        Needs(layers=(2,)),
    )
    views = [
        TappedModel(m, shape.blocks, names, 2, {"forget": needs})({"forget": make_batch()})["forget"]
        for m in (model, trunk)
    ]
    assert torch.equal(views[0].hidden[2], views[1].hidden[2])


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_taken_apart_is_said(kind: str) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        model = tiny_model(kind).to(dtype)
        with pytest.raises(UserError) as caught:
            check_blocks(model, skeleton(tiny_config(kind)).blocks)
        assert str(caught.value) == f"model.path=: {REFUSED[kind]}"


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mixtral", "gemma3", "bloom"])
def test_a_model_in_bfloat16_agrees(kind: str) -> None:
    check_blocks(tiny_model(kind).bfloat16(), skeleton(tiny_config(kind)).blocks)


def test_a_block_that_depends_on_more_than_its_arguments_is_noticed() -> None:
    model = tiny_model("llama")
    passes = []

    def drift(module: nn.Module, args: tuple, out: torch.Tensor) -> torch.Tensor:
        passes.append(1)
        return out + len(passes)

    model.model.layers[3].register_forward_hook(drift)
    with pytest.raises(
        UserError, match=r"block 3 called alone does not give the output that it gives in the model$"
    ):
        check_blocks(model, "model.layers")
