"""RMU: equations 1-3 of arXiv 2403.03218.

By hand: D = 2, c = 2, u = (0.6, 0.8): target (1.2, 1.6). Forget tokens (0, 0) and (1.2, 1.6):
‖·‖² = 1.44 + 2.56 = 4 and 0; mean over tokens 2, over D 1. Retain (1, 1) against (0, 1): 1, over D 0.5.
With α = 10: 1 + 10 · 0.5 = 6.
"""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from tests.built import built
from tests.models.tiny import make_batch
from tests.objectives.harness import check_invariances, loss, ready, tokens, view
from unlearnctl.objectives.base import Outputs, View
from unlearnctl.objectives.rmu import RMU
from unlearnctl.utils.errors import UserError


def one(rows: list[list[float]], reference: list[list[float]] | None = None) -> View:
    batch = make_batch((len(rows),), width=len(rows))
    frozen = Outputs({4: torch.tensor([reference])}) if reference else None
    return View(batch, Outputs({4: torch.tensor([rows])}), frozen)


def test_closed_form() -> None:
    objective = RMU(layer=4, steering_coeff=2.0, alpha=10.0)
    objective.setup(2, 1, torch.Generator().manual_seed(0))
    objective.control_vector[0] = torch.tensor([0.6, 0.8])
    out = objective(one([[0.0, 0.0], [1.2, 1.6]]), one([[1.0, 1.0]], [[0.0, 1.0]]))
    assert out.terms["forget"].item() == pytest.approx(1.0)
    assert out.terms["retain"].item() == pytest.approx(0.5)
    assert out.total.item() == pytest.approx(6.0)


@pytest.mark.parametrize("relative", [False, "mean"])
def test_naive_twin(relative: Literal[False, "mean"]) -> None:
    objective = ready(RMU(layer=4, steering_coeff=3.0, alpha=0.7, relative=relative))
    forget, retain = view(1), view(2)
    length = 3.0
    if relative:
        norms = [h.norm() for h in tokens(forget, forget.reference.hidden[4])]
        length = 3.0 * float(sum(norms)) / len(norms)
    steer = [
        (h - length * objective.control_vector[0]).square().mean() for h in tokens(forget, forget.hidden[4])
    ]
    pairs = zip(tokens(retain, retain.hidden[4]), tokens(retain, retain.reference.hidden[4]), strict=True)
    keep = [(h - h0).square().mean() for h, h0 in pairs]
    expected = sum(steer) / len(steer) + 0.7 * sum(keep) / len(keep)
    torch.testing.assert_close(objective(forget, retain).total, expected)


@pytest.mark.parametrize("relative", [False, "mean"])
def test_invariances(relative: Literal[False, "mean"]) -> None:
    check_invariances(ready(RMU(layer=4, steering_coeff=3.0, alpha=0.7, relative=relative)))


def test_reduction_all_is_the_papers_mse_over_the_padded_batch() -> None:
    objective = ready(RMU(layer=4, steering_coeff=3.0, alpha=0.7, reduction="all"))
    batch = make_batch((5, 9, 3, 7), width=9)
    h, h0 = torch.randn(2, 4, 9, 8)
    both = View(batch, Outputs({4: h}), Outputs({4: h0}))
    target = 3.0 * objective.control_vector[0].expand_as(h)
    expected = torch.nn.functional.mse_loss(h, target) + 0.7 * torch.nn.functional.mse_loss(h, h0)
    torch.testing.assert_close(objective(both, both).total, expected)


def test_control_vectors_are_unit_seeded_and_one_per_topic() -> None:
    a, b = ready(RMU(4, 1.0, 1.0), topics=2), ready(RMU(4, 1.0, 1.0), topics=2)
    assert torch.equal(a.control_vector, b.control_vector)
    torch.testing.assert_close(a.control_vector.norm(dim=-1), torch.ones(2))
    assert (a.control_vector >= 0).all()
    assert not torch.equal(a.control_vector[0], a.control_vector[1])
    assert set(a.state_dict()) == {"control_vector", "scale"}


def test_gradcheck() -> None:
    objective = ready(RMU(layer=4, steering_coeff=3.0, alpha=0.7)).double()
    batch = make_batch((2,), width=2)
    h, h0 = torch.randn(2, 1, 2, 8, dtype=torch.float64)

    def total(x: torch.Tensor) -> torch.Tensor:
        both = View(batch, Outputs({4: x}), Outputs({4: h0}))
        return objective(both, both).total

    # the loss is computed in float32, so the tolerance is float32's
    assert torch.autograd.gradcheck(total, h.requires_grad_(), eps=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("key", "arguments"),
    [
        ("layer", {"layer": -1}),
        ("steering_coeff", {"steering_coeff": 0.0}),
        ("alpha", {"alpha": -1.0}),
        ("reduction", {"reduction": "sum"}),
    ],
)
def test_wrong_values_are_refused_by_name(key: str, arguments: dict) -> None:
    with pytest.raises(UserError, match=rf"^objective\.{key}="):
        built("objective", RMU, **{"layer": 4, "steering_coeff": 1.0, "alpha": 1.0, **arguments})


def test_terms_are_unweighted() -> None:
    out = loss(ready(RMU(layer=4, steering_coeff=3.0, alpha=100.0)))
    torch.testing.assert_close(out.total, out.terms["forget"] + 100 * out.terms["retain"])


def test_a_block_without_an_mlp_is_named() -> None:
    class Arch:
        blocks = "model.layers"

        def mlp_outputs(self, block: int) -> list[str]:
            return [f"model.layers.{block}.mlp.down_proj.weight"] if block != 3 else []

    assert RMU(2, 1.0, 1.0).trainable(Arch()) == [
        rf"^model\.layers\.{block}\.mlp\.down_proj\.weight$" for block in (0, 1, 2)
    ]
    with pytest.raises(UserError) as caught:
        RMU(4, 1.0, 1.0).trainable(Arch())
    assert str(caught.value) == (
        "objective: it trains the MLP output matrices of blocks 2, 3, 4, and of these 3 have none; name what trains, "
        r"as in 'trainer.trainable=[model\.layers\.3\.]'"
    )
