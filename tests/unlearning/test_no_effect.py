"""A run that did nothing ends with a warning, which names the key to turn; one that worked does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.command import QUICK, succeed
from unlearnctl.models.spec import ModelSpec
from unlearnctl.models.storage_layout import share_changed
from unlearnctl.reporting.terminal import raised
from unlearnctl.unlearning.no_effect import STEPS, no_effect

FALLING = [1.0 - 0.01 * step for step in range(30)]


def flags(
    forget: list[float],
    moved: float | None = 0.9,
    dtype: str = "float32",
    masters: str = "auto",
    **objective: Any,
) -> list[dict[str, Any]]:
    config = {
        "model": {"dtype": dtype},
        "objective": objective,
        "trainer": {"optimizer": {"lr": 5e-5}, "steps": len(forget), "master_weights": masters},
    }
    rows = [{"kind": "train", "step": n + 1, "terms": {"forget": v}} for n, v in enumerate(forget)]
    return no_effect([{"kind": "eval", "step": 0}, *rows], moved, config)


def said(*args: Any, **more: Any) -> list[str]:
    return raised({"flags": flags(*args, **more)})


def test_a_run_with_effect_is_left_alone() -> None:
    assert [flag["name"] for flag in flags(FALLING)] == ["saturated", "unmoved", "flat"]
    assert said(FALLING) == []
    assert said([-v for v in FALLING]) == []  # gradient ascent is below 0 and falls, or rises
    assert said(FALLING[::-1]) == []


def test_weights_that_did_not_move() -> None:
    unmoved = "most weights did not change (share of trained weights that changed): 0.07, bound 0.50; "
    assert said(FALLING, 0.07) == [unmoved + "raise trainer.optimizer.lr=5e-05"]
    lost = said(FALLING, 0.07, dtype="bfloat16", masters="none")
    assert lost == [unmoved + "set trainer.master_weights=auto"]
    assert said(FALLING, None) == []


def test_a_flat_forget_loss() -> None:
    """From 1 to 0.995 over the run: the outer fifths differ by 4/5 of that."""
    slow = [1 - 0.005 * step / 29 for step in range(30)]
    (flag,) = [flag for flag in flags(slow) if flag["raised"]]
    assert flag["name"] == "flat"
    assert flag["value"] == pytest.approx(0.005 * 24 / 29, rel=1e-2)
    assert said(slow) == [
        "the forget loss stayed flat (relative change of loss term forget): 0.004, bound 0.01; "
        "raise trainer.optimizer.lr=5e-05 or trainer.steps=30"
    ]
    assert said(slow[: STEPS - 1]) == []


def test_a_saturated_forget_loss() -> None:
    """The cause alone is told: it stays flat because of it."""
    (line,) = said([4e-6] * 30, beta=4.5, gamma=0.0)
    assert line == (
        "the forget loss was at its end before the first step (loss term forget at the first step): 4e-06, "
        "bound 0.0001; lower objective.beta=4.5 or raise objective.gamma=0.0"
    )
    assert "try another objective" in said([4e-6])[0]
    assert said([-4e-6, *FALLING]) == []


def test_the_rate_is_named_as_it_was_given() -> None:
    def advice(**trainer: Any) -> str:
        config = {"model": {"dtype": "float32"}, "objective": {}, "trainer": {"steps": 30, **trainer}}
        rows = [{"kind": "train", "step": n, "terms": {"forget": v}} for n, v in enumerate(FALLING)]
        return next(flag["advice"] for flag in no_effect(rows, 0.1, config) if flag["name"] == "unmoved")

    assert advice(optimizer={"lr": None}, relative_lr=0.01) == "raise trainer.relative_lr=0.01"
    assert advice(optimizer={"lr": None}) == "raise trainer.relative_lr above its default"


def test_each_topic_has_a_curve_of_its_own() -> None:
    rows = [
        {
            "kind": "train",
            "step": n,
            "terms": {("a/forget", "b/forget")[n % 2]: 1.0 if n % 2 else 1 / (n + 1)},
        }
        for n in range(40)
    ]
    config = {"model": {}, "objective": {}, "trainer": {"optimizer": {"lr": 1}, "steps": 40}}
    found = {flag["metric"]: flag["raised"] for flag in no_effect(rows, None, config)}
    assert found["relative change of loss term a/forget"] is False
    assert found["relative change of loss term b/forget"] is True


def test_the_share_is_counted_as_the_model_represents_its_weights(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    base = torch.ones(2, 4)
    (tmp_path / "config.json").write_text("{}")
    save_file({"w": base}, tmp_path / "model.safetensors")
    changed = base.clone()
    changed[0] += torch.tensor([0.0, 2**-10, 2**-7, 1.0])  # the second is lost in bfloat16
    for dtype, share in (("float32", 3 / 8), ("bfloat16", 2 / 8)):
        spec = ModelSpec(name="t", path=str(tmp_path), dtype=dtype)
        assert share_changed(spec, {"w": changed}) == share
        assert share_changed(spec, {"stored_elsewhere": changed}) is None


@pytest.mark.full
def test_steps_that_round_to_nothing_end_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def run(name: str, *settings: str) -> tuple[str, dict[str, Any]]:
        done = succeed(
            "train", *QUICK, "objective=rmu", "trainer.steps=20", f"run={name}", "eval=[]", *settings
        )
        return done.out, json.loads((Path(done.run_dir) / "results.json").read_text())

    out, record = run(
        "lost", "model.dtype=bfloat16", "trainer.optimizer.lr=1e-7", "trainer.master_weights=none"
    )
    assert record["train"]["trained"]["moved"] < 0.5
    assert [flag["name"] for flag in record["flags"] if flag["raised"]] == ["unmoved"]
    assert "set trainer.master_weights=auto" in " ".join(out.split())
    out, record = run("moved", "model.dtype=bfloat16", "trainer.optimizer.lr=1e-2")
    assert record["train"]["trained"]["moved"] > 0.9
    assert "most weights did not change" not in out


def test_a_first_step_whose_row_is_gone_is_not_judged() -> None:
    """A directory that is removed during a run takes the rows so far with it: step 3 is not the first step."""
    config = {"model": {"dtype": "float32"}, "objective": {}, "trainer": {"optimizer": {"lr": 5e-5}}}
    late = [{"kind": "train", "step": step, "terms": {"forget": 1e-6}} for step in (3, 4)]
    assert no_effect(late, None, config) == []
    assert [flag["name"] for flag in no_effect([{**late[0], "step": 1}], None, config)] == ["saturated"]
