"""A learner without rewards ends with a warning that says what to turn; one with rewards does not."""

from __future__ import annotations

from typing import Any

import pytest

from unlearnctl.reporting.terminal import raised
from unlearnctl.unlearning.flat_rewards import flat_rewards


def flags(
    points: list[tuple[float, float]], noise: float = 0.0, kind: str = "meta", **meta: Any
) -> list[dict[str, Any]]:
    mode = "online" if kind == "meta" else "search"
    settings = {
        "mode": mode, "reward": "texts", "factor": 10.0, "knobs": ["alpha"], "episode_steps": 9,
        "reference_point": [0.0, 0.0], **meta,
    }  # fmt: skip
    zero = settings["reference_point"]
    rows = [
        {
            "kind": kind, "step": n, "forgotten": f, "retained": r, "noise": noise,
            "hypervolume": max(0.0, f - zero[0]) * max(0.0, r - zero[1]),
        }
        for n, (f, r) in enumerate(points)
    ]  # fmt: skip
    config = {"trainer": {"optimizer": {"lr": 1e-3}, "steps": 60, "meta": settings}}
    return flat_rewards([{"kind": "train", "step": 0}, *rows], config)


def said(*args: Any, **more: Any) -> list[str]:
    return raised({"flags": flags(*args, **more)})


def test_rewards_that_differ_are_left_alone() -> None:
    assert [flag["name"] for flag in flags([(0.2, 1.0), (0.5, 0.9)])] == ["flat_rewards"]
    assert said([(0.2, 1.0), (0.5, 0.9)]) == []
    assert said([(0.5, 0.9), (0.5, 0.9)]) == []  # online: from nothing to .45 at once
    assert flags([(0.0, 1.0)]) == []
    assert flat_rewards([{"kind": "train", "step": 0}], {"trainer": {}}) == []


def test_nothing_forgotten() -> None:
    """On SmolLM2 no question changed in 60 steps, and nothing said so."""
    (line,) = said([(0.0, 1.0), (0.004, 1.0)])
    assert line == (
        "trainer=meta had nothing to learn from (best hypervolume in 2 actions): 0.004, bound 0.01; "
        "raise trainer.optimizer.lr=0.001 or trainer.steps=60"
    )
    (line,) = said([(0.0, 1.0)] * 2, kind="episode", reward="suites")
    assert line.endswith(
        "set trainer.meta.reward=texts, which is finer; or raise trainer.optimizer.lr=0.001 "
        "or trainer.meta.episode_steps=9"
    )


def test_what_is_within_noise_is_no_reward() -> None:
    (flag,) = flags([(0.0, 1.0), (0.3, 1.0)], noise=0.16)
    assert flag["raised"]
    assert flag["bound"] == pytest.approx(1.96 * 0.16)
    assert said([(0.0, 1.0), (0.3, 1.0)], noise=0.15) == []


def test_nothing_retained() -> None:
    assert said([(1.0, 0.0), (1.0, 0.0)])[0].endswith(
        "nothing was retained; lower trainer.optimizer.lr=0.001"
    )


def test_a_reference_point_that_nothing_reaches() -> None:
    assert said([(0.3, 0.9), (0.4, 0.9)], reference_point=[0.5, 0.5])[0].endswith(
        "lower trainer.meta.reference_point=[0.5, 0.5]"
    )


def test_episodes_that_are_all_alike() -> None:
    (line,) = said([(0.5, 0.9)] * 3, kind="episode")
    assert (
        "differences of hypervolume in 3 actions): 0.00, bound 0.01; raise trainer.meta.factor=10.0" in line
    )
