"""A bfloat16 model that trains float32 masters follows the float32 run, under every option of the loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training import synthetic
from tests.training.test_loop import OBJECTIVES, trajectory
from unlearnctl.models.load import enable_checkpointing
from unlearnctl.training.checkpoint import read, write
from unlearnctl.training.fill import fill_caches
from unlearnctl.training.loop import Trainer
from unlearnctl.training.state import load_trainer, trainer_state

HALF: dict[str, Any] = {"dtype": torch.bfloat16, "steps": 6}
MASTERS = {**HALF, "master_weights": "auto"}


def trainer(name: str = "rmu", **settings: Any) -> Trainer:
    return synthetic.make_trainer(OBJECTIVES[name](), **settings)


@cache
def undisturbed() -> tuple[list[float], dict[str, Tensor]]:
    """Six steps with masters and no other option."""
    return trajectory(trainer(**MASTERS))


def apart(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """‖a − b‖ / ‖a‖ over all tensors."""
    difference = sum(float((a[n] - b[n].float()).square().sum()) for n in a)
    return (difference / sum(float(a[n].square().sum()) for n in a)) ** 0.5


@pytest.fixture
def _on_half_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models whose weights bfloat16 can hold, so that runs in both dtypes start from the same."""
    plain: Callable[[str], Any] = synthetic.tiny_model
    monkeypatch.setattr(synthetic, "tiny_model", lambda kind: plain(kind).bfloat16().float())


@pytest.mark.usefixtures("_on_half_values")
@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("rmu", 25),
        pytest.param("rmu", 100, marks=pytest.mark.full),
        pytest.param("npo", 100, marks=pytest.mark.full),
    ],
)
def test_it_follows_the_float32_run(name: str, steps: int) -> None:
    """Loss curve and weights to 1e-2; without masters, most of a step of 1e-4 rounds to nothing."""
    settings = {"steps": steps, "optimizer": {"lr": 1e-4}, "global_batch": 2}
    start = {n: p.detach().clone() for n, p in trainer(name).tapped.trained().items()}
    losses, weights = trajectory(trainer(name, **settings))
    same, masters = trajectory(trainer(name, **{**MASTERS, **settings}))
    pairs = zip(losses, same, strict=True)
    assert sum(abs(a - b) for a, b in pairs) < 1e-2 * sum(map(abs, losses))
    assert apart(weights, masters) < 1e-2
    _, rounded = trajectory(trainer(name, **{**HALF, **settings}))
    assert apart(weights, rounded) > 0.5 * apart(weights, start)
    assert apart(weights, masters) < 0.2 * apart(weights, rounded)


def test_a_resumed_run_has_the_masters_to_the_last_bit(tmp_path: Path) -> None:
    losses, weights = undisturbed()
    first = trainer(**MASTERS)
    for _ in range(3):
        first.advance()
    path = write(tmp_path, trainer_state(first), {}, keep=1)
    second = trainer(**MASTERS)
    load_trainer(second, read(path)[0])
    after, same = trajectory(second)
    assert after == losses[3:]
    assert {value.dtype for value in same.values()} == {torch.float32}
    assert all(torch.equal(weights[n], same[n]) for n in weights)
    assert not all(torch.equal(value, value.bfloat16().float()) for value in weights.values())


@pytest.mark.parametrize(
    ("settings", "bound"),
    [
        ({"micro_batch": 2}, 1e-3),  # other shapes: the rounding inside the model differs
        ({"on_oom": "halve"}, 0),
        ({"prefix_cache": "memory"}, 0),
        ({"gradient_checkpointing": True}, 0),
        ({"clip_norm": 1e6}, 0),
        ({"sharpness": 1e-6}, 1e-3),
    ],
)
def test_options_of_the_loop_change_nothing(settings: dict[str, Any], bound: float, tmp_path: Path) -> None:
    losses, weights = undisturbed()
    other = trainer(**MASTERS, **settings)
    if settings.get("gradient_checkpointing"):
        enable_checkpointing(other.tapped.model)
    fill_caches([other], {}, tmp_path, trunk=True)
    same, after = trajectory(other)
    assert same == pytest.approx(losses, rel=bound)
    assert apart(weights, after) <= bound
