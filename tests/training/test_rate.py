"""The learning rate as a multiple of the RMS of what trains: its definition, its default, and what a run records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.command import QUICK, succeed
from unlearnctl.objectives.base import Needs
from unlearnctl.tinyworld.resolve import resolve
from unlearnctl.training.rate import HIDDEN, PREDICTED, relative_rate, typical_rms
from unlearnctl.training.settings import TrainerSettings
from unlearnctl.utils.errors import UserError

READS_HIDDEN, READS_TOKENS = {"forget": Needs(layers=(1,))}, {"forget": Needs(logprobs=True)}


def settings(**values: object) -> TrainerSettings:
    return TrainerSettings(steps=1, global_batch=1, **values)  # type: ignore[arg-type]


def test_it_is_the_median_over_matrices_that_are_not_zero() -> None:
    sizes = [torch.tensor([[3.0, -4.0]]), torch.full((2, 2), 0.1), torch.full((2, 3), 1.0), torch.zeros(2, 2)]
    assert typical_rms([*sizes, torch.full((5,), 100.0)]) == pytest.approx(1.0)  # of 0.1, 1 and √12.5
    assert typical_rms([torch.full((5,), 2.0)]) == pytest.approx(2.0)
    with pytest.raises(UserError, match=r"^trainer\.relative_lr: everything that trains is zero"):
        typical_rms([torch.zeros(2, 2)])


def test_the_root_mean_square_of_a_bf16_matrix_is_taken_in_float32() -> None:
    matrix = torch.full((1000, 1000), 0.01, dtype=torch.bfloat16)
    assert typical_rms([matrix]) == pytest.approx(float(matrix[0, 0]), rel=1e-4)


def test_an_absolute_rate_wins_and_a_default_needs_neither() -> None:
    assert relative_rate(settings(optimizer={"lr": 1e-3}), READS_HIDDEN) is None
    assert relative_rate(settings(optimizer={"lr": None}, relative_lr=0.02), READS_TOKENS) == 0.02
    assert relative_rate(settings(optimizer={"lr": None}), READS_HIDDEN) == HIDDEN
    assert relative_rate(settings(optimizer={}), READS_TOKENS) == PREDICTED
    with pytest.raises(UserError, match=r"relative_lr=0\.02: trainer\.optimizer\.lr=0\.001 is set too"):
        settings(optimizer={"lr": 1e-3}, relative_lr=0.02)


def test_a_relative_run_is_the_absolute_one_at_the_rate_that_it_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    monkeypatch.chdir(tmp_path)
    common = ("train", *QUICK, "objective=rmu", "objective.layer=3")
    done = succeed(*common, "trainer.optimizer.lr=null", "trainer.relative_lr=0.02", "run=relative")
    record = json.loads(Path(done.run_dir, "results.json").read_text())["train"]
    weights = load_file(Path(resolve("tinyworld:weights"), "model.safetensors"))
    trained = [weights[f"model.layers.{block}.mlp.down_proj.weight"] for block in (1, 2, 3)]
    rms = sorted(float(each.float().square().mean().sqrt()) for each in trained)[1]
    assert record["lr"] == pytest.approx(0.02 * rms, rel=1e-5)
    assert f"learning rate: {record['lr']:.3g}, 0.02 × {rms:.3g}" in done.out
    other = Path(succeed(*common, f"trainer.optimizer.lr={record['lr']!r}", "run=absolute").run_dir)
    tensors = Path("checkpoint", "delta.safetensors")
    assert Path(done.run_dir, tensors).read_bytes() == Path(other, tensors).read_bytes()
