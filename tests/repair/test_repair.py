"""Repair in closed form: by hand, against a naive minimiser, and at its limits.

By hand: one input direction with λ = 1 of two, the other never used (λ = 0), mean ½. At strength 1, μ = 2, so the used
direction is divided by 3 and the unused one left alone.
"""

from __future__ import annotations

import pytest
import torch

from tests.built import built
from tests.models.tiny import make_batch, tiny_model
from unlearnctl.repair.sage import SAGE
from unlearnctl.repair.spectrum import Spectrum, linear_updates, second_moments
from unlearnctl.repair.task_arithmetic import TaskArithmetic
from unlearnctl.utils.errors import UserError


@pytest.fixture
def inputs() -> torch.Tensor:
    return (
        torch.randn(50, 6, dtype=torch.float64)
        @ torch.diag(torch.tensor([3.0, 2, 1, 0.5, 0.1, 0.01])).double()
    )


@pytest.fixture
def update() -> torch.Tensor:
    return torch.randn(4, 6, dtype=torch.float64)


def moment(x: torch.Tensor) -> torch.Tensor:
    return x.T @ x / len(x)


def test_by_hand() -> None:
    spectrum = Spectrum.of(torch.diag(torch.tensor([1.0, 0.0])))
    out = SAGE()(torch.tensor([[3.0, 5.0]]), spectrum, 1.0)
    torch.testing.assert_close(out, torch.tensor([[1.0, 5.0]], dtype=torch.float64))


@pytest.mark.parametrize("strength", [0.03, 1.0, 40.0])
def test_it_is_the_full_closed_form(inputs: torch.Tensor, update: torch.Tensor, strength: float) -> None:
    c = moment(inputs)
    mu = strength / (c.trace() / 6)
    expected = update @ torch.linalg.inv(torch.eye(6, dtype=torch.float64) + mu * c)
    torch.testing.assert_close(SAGE()(update, Spectrum.of(c), strength), expected, atol=1e-9, rtol=1e-9)


def test_no_neighbour_is_better(inputs: torch.Tensor, update: torch.Tensor) -> None:
    """The gradient of ‖Δ' − Δ‖² + μ‖XΔ'ᵀ‖²/n vanishes there."""
    c = moment(inputs)
    mu = 2.0 / (c.trace() / 6)
    repaired = SAGE()(update, Spectrum.of(c), 2.0).requires_grad_()
    loss = (repaired - update).pow(2).sum() + mu * (inputs @ repaired.T).pow(2).sum() / len(inputs)
    loss.backward()
    assert repaired.grad is not None
    assert repaired.grad.abs().max() < 1e-9


def test_damage_is_the_mean_squared_change_of_the_output(inputs: torch.Tensor, update: torch.Tensor) -> None:
    naive = sum(float((update @ x).pow(2).sum()) for x in inputs) / len(inputs)
    assert Spectrum.of(moment(inputs)).damage(update) == pytest.approx(naive, rel=1e-9)


def test_limits(inputs: torch.Tensor, update: torch.Tensor) -> None:
    spectrum = Spectrum.of(moment(inputs))
    for method in (SAGE(), TaskArithmetic()):
        torch.testing.assert_close(method(update, spectrum, 0.0), update)
        damages = [spectrum.damage(method(update, spectrum, s)) for s in (0.0, 0.1, 1.0, 10.0, 1e9)]
        assert damages == sorted(damages, reverse=True)
        assert damages[-1] < 1e-9 * damages[0]


def test_at_equal_damage_sage_changes_the_update_less_than_scaling(
    inputs: torch.Tensor, update: torch.Tensor
) -> None:
    spectrum = Spectrum.of(moment(inputs))
    sage = SAGE()(update, spectrum, 1.0)
    scale = (spectrum.damage(sage) / spectrum.damage(update)) ** 0.5
    scaled = TaskArithmetic()(update, spectrum, 1 / scale - 1)
    assert spectrum.damage(scaled) == pytest.approx(spectrum.damage(sage))
    assert (sage - update).norm() < (scaled - update).norm()


def test_energy_keeps_the_dominant_directions_alone(inputs: torch.Tensor, update: torch.Tensor) -> None:
    spectrum = Spectrum.of(moment(inputs))
    share = float(spectrum.values[-1] / spectrum.values.sum())
    out = SAGE(energy=share * 0.99)(update, spectrum, 3.0)
    top, rest = spectrum.vectors[:, -1:], spectrum.vectors[:, :-1]
    torch.testing.assert_close(out @ rest, update @ rest)
    factor = 1 / (1 + 3.0 * spectrum.values[-1] / spectrum.values.mean())
    torch.testing.assert_close(out @ top, update @ top * factor)
    everything = SAGE(energy=1.0)(update, spectrum, 3.0)
    torch.testing.assert_close(
        SAGE(energy=1 - 1e-15)(update, spectrum, 3.0), everything, atol=1e-6, rtol=1e-6
    )
    for energy in (0.0, 1.5, -1.0):
        with pytest.raises(UserError, match=r"^repair\.energy="):
            built("repair", SAGE, energy=energy)


@pytest.mark.parametrize("side", ["right", "left"])
def test_moments_are_of_real_tokens_only(architecture: str, side: str) -> None:
    model = tiny_model(architecture)
    blocks = next(name for name, m in model.named_modules() if isinstance(m, torch.nn.ModuleList))
    name = next(
        n for n, m in model.named_modules() if n.startswith(f"{blocks}.2") and isinstance(m, torch.nn.Linear)
    )
    batches = [make_batch(side=side, seed=s) for s in (0, 1)]
    seen: list[torch.Tensor] = []
    found = second_moments(model, [name], batches)[name]
    handle = model.get_submodule(name).register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    with torch.no_grad():
        for batch in batches:
            model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False)
    handle.remove()
    rows = [
        x[b, t].double() for x, y in zip(seen, batches, strict=True) for b, t in y.mask.nonzero().tolist()
    ]
    naive = sum(torch.outer(row, row) for row in rows) / len(rows)
    torch.testing.assert_close(found, naive, atol=1e-9, rtol=1e-6)
    assert len(rows) == 80


def test_only_untied_linear_weights_are_repaired() -> None:
    for architecture, head in (("llama", True), ("qwen2", False)):
        model = tiny_model(architecture)
        changed = {n: p.detach() + 1 for n, p in model.named_parameters(remove_duplicate=False)}
        updates, others = linear_updates(model, changed)
        assert ("lm_head" in updates) == head
        assert "model.embed_tokens.weight" in others
        assert "model.norm.weight" in others
        assert all(torch.allclose(u, torch.ones_like(u)) for u in updates.values())
        assert len(updates) == 6 * 7 + head
