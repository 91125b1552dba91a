"""RNA's noise: zero changes nothing; otherwise of the right size, new each step, the same for any padding and split."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from tests.built import built
from tests.objectives.harness import D, check_invariances, loss, ready, view
from unlearnctl.objectives.base import Objective
from unlearnctl.objectives.retain_noise import RetainNoise
from unlearnctl.objectives.rmu import RMU
from unlearnctl.objectives.rmu_adaptive import RMUAdaptive
from unlearnctl.objectives.rmu_cosine import RMUCosine
from unlearnctl.utils.errors import UserError


def noise(scale: float, seed: int = 0) -> RetainNoise:
    made = RetainNoise(scale)
    made.setup(torch.Generator().manual_seed(seed))
    return made


def test_none_is_the_very_tensor() -> None:
    v = view(2)
    assert noise(0.0)(v, 4) is v.reference.hidden[4]


def test_size_and_freshness() -> None:
    v, made = view(2), noise(0.5)
    real = v.batch.attention_mask.bool()
    draws = []
    for _ in range(400):
        draws.append((made(v, 4) - v.reference.hidden[4])[real])
        made.after_step()
    every = torch.stack(draws)
    assert every.std().item() == pytest.approx(0.5, abs=0.01)
    assert every.mean().item() == pytest.approx(0.0, abs=0.01)
    assert not torch.equal(draws[0], draws[1])
    again = noise(0.5)
    torch.testing.assert_close((again(v, 4) - v.reference.hidden[4])[real], draws[0])
    assert not torch.equal((noise(0.5, seed=1)(v, 4) - v.reference.hidden[4])[real], draws[0])


def test_rows_and_layers_differ() -> None:
    v, made = view(2), noise(1.0)
    drawn = [made(v, layer) - v.reference.hidden[layer] for layer in (1, 4)]
    assert not torch.allclose(drawn[0][0, 0], drawn[1][0, 0])
    assert not torch.allclose(drawn[0][0, 0], drawn[0][1, 0])


@pytest.mark.parametrize(
    "objective",
    [
        RMU(4, 2.0, 3.0, retain_noise=0.3),
        RMUAdaptive(4, 2.0, 3.0, "per_topic", retain_noise=0.3),
        RMUCosine([1, 4], "away", 3.0, 0.5, retain_noise=0.3),
    ],
    ids=lambda o: type(o).__name__,
)
def test_in_the_objectives(objective: Objective) -> None:
    made = ready(objective)
    check_invariances(made)
    first = loss(made)
    made.after_step({})
    second = loss(made)
    assert first.terms["retain"] != second.terms["retain"]
    assert first.terms["forget"] == second.terms["forget"]


@pytest.mark.full
def test_expected_loss_of_rmu_grows_by_the_variance() -> None:
    """E‖h − h0 − νz‖²/D = ‖h − h0‖²/D + ν²."""
    plain, noisy = ready(RMU(4, 2.0, 3.0)), ready(RMU(4, 2.0, 3.0, retain_noise=0.5))
    drawn = []
    for _ in range(300):
        drawn.append(loss(noisy).terms["retain"])
        noisy.after_step({})
    gained = torch.stack(drawn).mean() - loss(plain).terms["retain"]
    assert gained.item() == pytest.approx(0.25, abs=0.03)


def test_control_vectors_stay_as_they_were() -> None:
    plain, noisy = ready(RMU(4, 2.0, 3.0)), ready(RMU(4, 2.0, 3.0, retain_noise=0.5))
    assert torch.equal(plain.get_buffer("control_vector"), noisy.get_buffer("control_vector"))
    assert plain.get_buffer("control_vector").shape == (1, D)


def test_split_rows_get_their_own_noise() -> None:
    v, made = view(2), noise(1.0)
    whole = made(v, 4)
    parts = [made(view(2, rows=slice(a, b)), 4) for a, b in pairwise((0, 1, 3, 4))]
    torch.testing.assert_close(torch.cat(parts), whole, equal_nan=True)


def test_wrong_scale() -> None:
    with pytest.raises(UserError, match=r"^objective\.retain_noise=-1\.0"):
        built("objective", RMU, 4, 2.0, 3.0, retain_noise=-1.0)
