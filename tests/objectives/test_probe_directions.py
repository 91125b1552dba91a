"""Probe directions: closed forms, a naive loop, invariances.

By hand: one token with h = (3, 4), direction (1, 0), μ = 1, σ = 2, threshold 2: s = 1, b = ½.
"""

from __future__ import annotations

import pytest
import torch

from tests.built import built
from tests.models.tiny import make_batch
from tests.objectives.harness import D, check_invariances, loss, tokens, view
from unlearnctl.objectives.base import Outputs, View
from unlearnctl.objectives.probe_directions import ProbeDirections
from unlearnctl.utils.errors import UserError

GIVEN = {
    "direction": torch.nn.functional.normalize(
        torch.randn(2, D, generator=torch.Generator().manual_seed(5)), dim=-1
    ),
    "threshold": torch.tensor([0.4, -0.3]),
    "neutral_mean": torch.tensor([-0.2, 0.1]),
    "neutral_scale": torch.tensor([1.5, 0.7]),
    "accuracy": torch.tensor([0.9, 0.7]),
    "control": torch.tensor([0.5, 0.5]),
}


def make(
    kind: str = "project", weighting: str = "accuracy", kl: float = 0.0, **settings: float
) -> ProbeDirections:
    values = {"margin": 0.25, "alpha": 2.0, **settings}
    objective = ProbeDirections([1, 4], kind, weighting=weighting, kl=kl, **values)  # type: ignore[arg-type]
    objective.take_probes(GIVEN)
    return objective


@pytest.mark.parametrize(("kind", "expected"), [("project", 1.0), ("push", 1.0), ("hinge", 1 - 0.5 + 0.25)])
def test_by_hand(kind: str, expected: float) -> None:
    objective = ProbeDirections([0], kind, 0.25, "uniform", 1.0, 0.0)
    one = {"direction": [[1.0, 0.0]], "threshold": [2.0], "neutral_mean": [1.0], "neutral_scale": [2.0]}
    objective.take_probes(
        {k: torch.tensor(v) for k, v in {**one, "accuracy": [1.0], "control": [0.5]}.items()}
    )
    v = View(make_batch((1,), width=1), Outputs({0: torch.tensor([[[3.0, 4.0]]])}))
    assert objective.forget_term(v, 0).item() == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["project", "hinge", "push"])
def test_naive_loop(kind: str) -> None:
    v, w = view(1), view(2)
    erase = keep = 0.0
    weights = [0.4 / 0.6, 0.2 / 0.6]
    for i, layer in enumerate((1, 4)):
        found = []
        for h in tokens(v, v.hidden[layer]):
            s = (float(h @ GIVEN["direction"][i]) - float(GIVEN["neutral_mean"][i])) / float(
                GIVEN["neutral_scale"][i]
            )
            b = float((GIVEN["threshold"][i] - GIVEN["neutral_mean"][i]) / GIVEN["neutral_scale"][i])
            found.append({"project": s * s, "hinge": max(0.0, s - b + 0.25), "push": s}[kind])
        erase += weights[i] * sum(found) / len(found)
        pairs = zip(tokens(w, w.hidden[layer]), tokens(w, w.reference.hidden[layer]), strict=True)
        moved = [float((h - h0).pow(2).sum() / h0.pow(2).sum()) for h, h0 in pairs]
        keep += sum(moved) / len(moved) / 2
    out = make(kind)(v, w)
    assert out.terms["forget"].item() == pytest.approx(erase, rel=1e-5)
    assert out.terms["retain"].item() == pytest.approx(keep, rel=1e-5)
    assert out.total.item() == pytest.approx(erase + 2.0 * keep, rel=1e-5)


@pytest.mark.parametrize("kind", ["project", "hinge", "push"])
@pytest.mark.parametrize("kl", [0.0, 1.0])
def test_invariances(kind: str, kl: float) -> None:
    check_invariances(make(kind, kl=kl))


def test_the_control_has_no_probe_loss() -> None:
    out = loss(make(forget_coeff=0.0))
    assert out.total.item() == pytest.approx(2.0 * out.terms["retain"].item())


def test_weights() -> None:
    assert make().weight.tolist() == pytest.approx([2 / 3, 1 / 3])
    assert make(weighting="uniform").weight.tolist() == pytest.approx([0.5, 0.5])


def test_only_kl_needs_the_whole_depth() -> None:
    assert not make().needs()["retain"].head
    assert make(kl=1.0).needs()["retain"].head
    assert not make(kl=1.0).needs()["forget"].head


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("layers", {"layers": []}),
        ("loss", {"loss": "erase"}),
        ("margin", {"margin": -1.0}),
        ("weighting", {"weighting": "best"}),
        ("alpha", {"alpha": -1.0}),
        ("kl", {"kl": -0.1}),
        ("forget_coeff", {"forget_coeff": -1.0}),
    ],
)
def test_wrong_values_are_refused_by_name(key: str, settings: dict) -> None:
    good = {"layers": [1], "loss": "push", "margin": 0.0, "weighting": "uniform", "alpha": 1.0, "kl": 0.0}
    with pytest.raises(UserError, match=rf"^objective\.{key}="):
        built("objective", ProbeDirections, **{**good, **settings})
