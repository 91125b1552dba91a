"""Circuit breaking by hand: at the start only the forget term counts, at the end both count half of alpha."""

from __future__ import annotations

import pytest
import torch

from tests.built import built
from tests.objectives.harness import check_invariances, loss, tokens, view
from tests.training.synthetic import make_trainer
from unlearnctl.objectives.circuit_breaking import CircuitBreaking
from unlearnctl.utils.errors import UserError


def test_independently() -> None:
    objective = CircuitBreaking([1, 4], alpha=10.0, steps=100)
    for _ in range(50):
        objective.after_step({})
    f, r = view(1), view(2)
    cos, moved = [], []
    for layer in (1, 4):
        pairs = zip(tokens(f, f.hidden[layer]), tokens(f, f.reference.hidden[layer]), strict=True)
        cos += [max(0.0, (a @ b / (a.norm() * b.norm())).item()) for a, b in pairs]
        pairs = zip(tokens(r, r.hidden[layer]), tokens(r, r.reference.hidden[layer]), strict=True)
        moved += [(a - b).norm().item() for a, b in pairs]
    out = objective(f, r)
    assert out.terms["forget"].item() == pytest.approx(sum(cos) / len(cos), rel=1e-5)
    assert out.terms["retain"].item() == pytest.approx(sum(moved) / len(moved), rel=1e-5)
    expected = 10 * (0.75 * sum(cos) / len(cos) + 0.25 * sum(moved) / len(moved))
    assert out.total.item() == pytest.approx(expected, rel=1e-5)


def test_weights_trade_places() -> None:
    objective = CircuitBreaking([1], alpha=2.0, steps=2)
    first = loss(objective)
    torch.testing.assert_close(first.total, 2.0 * first.terms["forget"])
    for _ in range(2):
        objective.after_step({})
    last = loss(objective)
    torch.testing.assert_close(last.total, last.terms["forget"] + last.terms["retain"])
    objective.after_step({})
    torch.testing.assert_close(loss(objective).total, last.total)


def test_invariances() -> None:
    objective = CircuitBreaking([1, 4], alpha=10.0, steps=4)
    objective.after_step({})
    check_invariances(objective)


def test_blocks_up_to_the_layer_train() -> None:
    trainer = make_trainer(CircuitBreaking([1], 10.0, 3), steps=3)
    assert {name.split(".")[2] for name in trainer.tapped.trainable} == {"0", "1"}
    assert trainer.fit().steps == 3


@pytest.mark.parametrize(
    ("key", "make"),
    [
        ("layers", lambda: built("objective", CircuitBreaking, [], 1.0, 1)),
        ("alpha", lambda: built("objective", CircuitBreaking, [1], 0.0, 1)),
        ("steps", lambda: built("objective", CircuitBreaking, [1], 1.0, 0)),
    ],
)
def test_wrong_values_are_refused_by_name(key: str, make) -> None:
    with pytest.raises(UserError, match=rf"^objective\.{key}="):
        make()
