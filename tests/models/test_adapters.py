"""LoRA trains adapters alone, starts at the base, and merges into what it computed."""

from __future__ import annotations

import re

import pytest
import torch

from tests.models.tiny import make_batch, tiny_config, tiny_model
from unlearnctl.models.adapters import Lora, adaptable, add_adapters, merged
from unlearnctl.models.delta import apply_delta
from unlearnctl.models.partial.tapped import TappedModel
from unlearnctl.models.skeleton import skeleton
from unlearnctl.models.trainable import lowest_block, match
from unlearnctl.objectives.base import Objective
from unlearnctl.objectives.npo import NPO
from unlearnctl.objectives.retain import KL
from unlearnctl.objectives.rmu import RMU
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.validate import read

LORA = Lora(rank=3, alpha=6.0)
OBJECTIVES = {"rmu": lambda: RMU(4, 3.0, 10.0), "npo_kl": lambda: NPO(0.1, 1.0, 1.0, KL())}


def logits(model: torch.nn.Module) -> torch.Tensor:
    batch = make_batch()
    with torch.no_grad():
        out = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False)
    return out.logits[batch.mask]


def tap(architecture: str, objective: Objective) -> tuple[TappedModel, list[str]]:
    model, shape = tiny_model(architecture), skeleton(tiny_config(architecture))
    chosen = match(objective.trainable(shape), [n for n in shape.shapes if n not in shape.tied])
    names = adaptable(chosen, shape)
    objective.setup(32, 1, torch.Generator().manual_seed(0))
    adapters = add_adapters(model, shape.blocks, names, LORA)
    tapped = TappedModel(model, shape.blocks, adapters, lowest_block(names, shape), objective.needs())
    assert sum(p.numel() for p in tapped.trained().values()) == sum(
        LORA.parameters(shape.shapes[n]) for n in names
    )
    return tapped, names


@pytest.mark.parametrize("name", OBJECTIVES)
def test_five_steps(architecture: str, name: str) -> None:
    objective, untouched = OBJECTIVES[name](), tiny_model(architecture)
    tapped, names = tap(architecture, objective)
    assert torch.equal(logits(tapped.model), logits(untouched))
    before = {n: p.detach().clone() for n, p in tapped.model.named_parameters()}
    optimizer = torch.optim.AdamW(tapped.trained().values(), lr=1e-2, weight_decay=0.0)
    batches = {"forget": make_batch(), "retain": make_batch(seed=1)}
    for _ in range(5):
        views = tapped(batches)
        objective(views["forget"], views["retain"]).total.backward()
        optimizer.step()
        optimizer.zero_grad()
    moved = {n for n, p in tapped.model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == set(tapped.trainable)
    # the reference is still the base, the policy is not
    reference = tapped(batches)["retain"].reference
    plain = untouched(
        batches["retain"].input_ids, batches["retain"].attention_mask, output_hidden_states=True
    )
    real = batches["retain"].mask
    ours = reference.logits if reference.logits is not None else reference.hidden[4]
    theirs = plain.logits if reference.logits is not None else plain.hidden_states[5]
    torch.testing.assert_close(ours[real], theirs[real], atol=1e-6, rtol=1e-6)
    # merged into the base, the matrices give what base and adapters gave
    adapted = logits(tapped.model)
    assert not torch.equal(adapted, logits(untouched))
    apply_delta(untouched, merged(tapped.model, names))
    torch.testing.assert_close(logits(untouched), adapted, atol=1e-5, rtol=1e-5)


def test_adapters_are_float32_on_a_bfloat16_base() -> None:
    model = tiny_model("llama").bfloat16()
    names = ["model.layers.2.mlp.down_proj.weight"]
    adapters = add_adapters(model, "model.layers", names, LORA)
    parameters = dict(model.named_parameters())
    assert {parameters[n].dtype for n in adapters} == {torch.float32}
    assert merged(model, names)[names[0]].dtype == torch.float32
    assert torch.equal(
        merged(model, names)[names[0]],
        tiny_model("llama").model.layers[2].mlp.down_proj.weight.bfloat16().float(),
    )


def test_only_matrices_inside_blocks_are_adapted() -> None:
    shape = skeleton(tiny_config("llama"))
    chosen = adaptable(list(shape.shapes), shape)
    assert len(chosen) == 6 * 7
    with pytest.raises(UserError, match=r"trainer.lora: model.norm.weight is not a matrix inside a block"):
        adaptable(["model.norm.weight"], shape)


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        (16, "trainer.lora=16: must be a mapping of settings"),
        ({"rank": 0, "alpha": 1}, "trainer.lora.rank=0: must be a whole number, 1 or more"),
        ({"rank": 2.5, "alpha": 1}, "trainer.lora.rank=2.5"),
        ({"alpha": 1}, "trainer.lora.rank: required"),
        ({"rank": 2, "alpha": 0}, "trainer.lora.alpha=0: must be a positive number"),
        ({"rank": 2, "alfa": 1}, "trainer.lora.alfa: unknown key (did you mean 'alpha'?)"),
    ],
)
def test_wrong_settings_are_named(cfg: object, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        read(Lora, "trainer.lora", cfg)


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("deepseek_v3", 48),
        ("qwen3_next", 43),
        ("qwen2_moe", 48),
        ("gpt_oss", 24),
        ("mixtral", 24),
        ("gpt2", 24),
    ],
)
def test_every_planned_matrix_gets_an_adapter_and_is_merged(kind: str, count: int) -> None:
    model, shape = tiny_model(kind), skeleton(tiny_config(kind))
    names = adaptable([n for n in shape.shapes if n not in shape.tied], shape)
    base = {n: p.detach().clone() for n, p in model.named_parameters()}
    before = logits(model)
    adapters = add_adapters(model, shape.blocks, names, LORA)
    parameters = dict(model.named_parameters())
    assert len(names) == count
    assert len(adapters) == 2 * len(names)
    assert sum(parameters[n].numel() for n in adapters) == sum(
        LORA.parameters(shape.shapes[n]) for n in names
    )
    assert torch.equal(logits(model), before)
    with torch.no_grad():
        for name in adapters:
            parameters[name].normal_(0, 0.02)
    after, found = logits(model), merged(model, names)
    assert set(found) == set(names)
    assert not torch.allclose(after, before)
    plain = tiny_model(kind)
    apply_delta(plain, {n: found.get(n, value) for n, value in base.items()})
    torch.testing.assert_close(logits(plain), after, atol=1e-4, rtol=1e-4)


def test_what_mamba_reads_past_an_adapter_is_refused() -> None:
    shape = skeleton(tiny_config("mamba"))
    with pytest.raises(UserError) as caught:
        adaptable(list(shape.shapes), shape)
    assert str(caught.value) == (
        "trainer.lora: backbone.layers.0.mixer.x_proj.weight cannot have an adapter, because Mamba's kernels read the "
        "matrix itself; train other matrices, as in 'trainer.trainable=[in_proj]'"
    )
    chosen = [n for n in shape.shapes if "in_proj" in n]
    assert adaptable(chosen, shape) == chosen
    assert len(add_adapters(tiny_model("mamba"), shape.blocks, chosen, LORA)) == 12


def test_a_matrix_that_got_no_adapter_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peft.inject_adapter_in_model", lambda config, model, adapter_name: model)
    with pytest.raises(
        UserError, match=r"peft did not put adapters where they were planned: model\.layers\.2\.mlp"
    ):
        add_adapters(tiny_model("llama"), "model.layers", ["model.layers.2.mlp.down_proj.weight"], LORA)
