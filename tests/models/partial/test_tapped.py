"""The engine gives what Hugging Face's own forward gives, and the plain two-model step's weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.models.plain_rmu import assert_same_steps
from tests.models.tiny import make_batch, tiny_config, tiny_model
from unlearnctl.models.load import enable_checkpointing
from unlearnctl.models.partial.tapped import TappedModel
from unlearnctl.models.skeleton import skeleton
from unlearnctl.models.trainable import lowest_block, match
from unlearnctl.objectives.base import Needs
from unlearnctl.objectives.npo import NPO
from unlearnctl.objectives.retain import KL, NLL
from unlearnctl.objectives.rmu import RMU

EVERYTHING = Needs(layers=(0, 2, 4), logits=True, logprobs=True, final=True, reference=True)


def tap(model: nn.Module, architecture: str, patterns: list[str], needs: dict[str, Needs]) -> TappedModel:
    shape = skeleton(tiny_config(architecture))
    names = match(patterns, [name for name in shape.shapes if name not in shape.tied])
    return TappedModel(model, shape.blocks, names, lowest_block(names, shape), needs)


def rmu_patterns(architecture: str) -> list[str]:
    return RMU(4, 1.0, 1.0).trainable(skeleton(tiny_config(architecture)))


@pytest.mark.parametrize("side", ["right", "left"])
def test_outputs_are_hugging_faces(architecture: str, side: str) -> None:
    model, batch = tiny_model(architecture), make_batch(side=side)
    tapped = tap(model, architecture, rmu_patterns(architecture), {"forget": EVERYTHING})
    with torch.no_grad():
        view = tapped({"forget": batch})["forget"]
        theirs = model(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            output_hidden_states=True,
            use_cache=False,
        )
    for layer in (0, 2, 4):
        assert torch.equal(view.hidden[layer], theirs.hidden_states[layer + 1])
        assert torch.equal(view.reference.hidden[layer], view.hidden[layer])
    assert view.policy.logits is not None
    real = batch.attention_mask.bool()
    torch.testing.assert_close(view.policy.logits[real], theirs.logits[real], atol=1e-6, rtol=0)
    assert view.policy.final is not None
    torch.testing.assert_close(view.policy.final[real], theirs.hidden_states[-1][real], atol=1e-6, rtol=0)
    naive = torch.zeros(batch.labels.shape)
    for b in range(naive.shape[0]):
        for t in range(1, naive.shape[1]):
            if batch.attention_mask[b, t] and batch.attention_mask[b, t - 1]:
                naive[b, t] = theirs.logits[b, t - 1].log_softmax(-1)[batch.input_ids[b, t]]
    torch.testing.assert_close(view.logprobs, naive, atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", ["right", "left"])
def test_five_rmu_steps_equal_the_plain_two_model_step(architecture: str, side: str) -> None:
    objective = RMU(layer=4, steering_coeff=3.0, alpha=10.0)
    objective.setup(32, 1, torch.Generator().manual_seed(0))
    ours, theirs = tiny_model(architecture), tiny_model(architecture)
    tapped = tap(ours, architecture, rmu_patterns(architecture), objective.needs())
    assert_same_steps(tapped, theirs, objective, steps=5, side=side)


def test_only_what_is_trainable_gets_a_gradient(architecture: str) -> None:
    model = tiny_model(architecture)
    objective = RMU(4, 3.0, 10.0)
    objective.setup(32, 1, torch.Generator().manual_seed(0))
    tapped = tap(model, architecture, rmu_patterns(architecture), objective.needs())
    views = tapped({"forget": make_batch(), "retain": make_batch(seed=1)})
    objective(views["forget"], views["retain"]).total.backward()
    with_gradient = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert with_gradient == set(tapped.trainable)
    assert len(with_gradient) == 3


@pytest.mark.parametrize("patterns", [[".*"], [r"layers\.[35]\."], ["embed"]])
def test_loss_level_equals_two_models_for_any_choice_of_parameters(
    architecture: str, patterns: list[str]
) -> None:
    """Embedding (tied or not) included: the reference must not see the policy's."""
    ours, frozen = tiny_model(architecture), tiny_model(architecture)
    objective = NPO(beta=0.1, forget_coeff=1.0, alpha=1.0, retain=KL())
    tapped = tap(ours, architecture, patterns, objective.needs())
    with torch.no_grad():
        for parameter in tapped.trained().values():
            parameter.add_(0.05 * torch.randn_like(parameter))
    forget, retain = make_batch(), make_batch(seed=1)
    views = tapped({"forget": forget, "retain": retain})
    with torch.no_grad():
        theirs = frozen(
            input_ids=retain.input_ids, attention_mask=retain.attention_mask, use_cache=False
        ).logits
    real = retain.mask
    assert views["retain"].reference.logits is not None
    torch.testing.assert_close(views["retain"].reference.logits[real], theirs[real], atol=1e-5, rtol=1e-5)
    objective(views["forget"], views["retain"]).total.backward()
    moved = {n for n, p in ours.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert moved == set(tapped.trainable)


def test_gradient_checkpointing_changes_nothing() -> None:
    gradients = []
    for checkpointing in (False, True):
        model = tiny_model("llama")
        objective = NPO(beta=0.1, forget_coeff=1.0, alpha=1.0, retain=NLL())
        tapped = tap(model, "llama", [r"layers\.[2-5]\."], objective.needs())
        if checkpointing:
            enable_checkpointing(model)
        views = tapped({"forget": make_batch(), "retain": make_batch(seed=1)})
        objective(views["forget"], views["retain"]).total.backward()
        gradients.append({n: p.grad for n, p in tapped.trained().items()})
    for name in gradients[0]:
        torch.testing.assert_close(gradients[0][name], gradients[1][name], atol=1e-7, rtol=1e-6)


def test_the_model_is_whole_again_after_a_pass() -> None:
    model, batch = tiny_model("llama"), make_batch()
    before = model(batch.input_ids, use_cache=False).logits
    tap(model, "llama", rmu_patterns("llama"), {"forget": EVERYTHING})({"forget": batch})
    assert torch.equal(model(batch.input_ids, use_cache=False).logits, before)
