"""The plan's numbers against a run's, and what is refused while planning."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from tests.command import QUICK, succeed
from unlearnctl.models.load import load_trunk
from unlearnctl.unlearning.plan import Plan, make_plan, size
from unlearnctl.unlearning.prepare import Prepared, prepare
from unlearnctl.utils.paths import conf_dir


def planned(*overrides: str) -> tuple[Prepared, Plan]:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        ready = prepare(compose("train", overrides=[*QUICK, *overrides]))
    return ready, make_plan(ready, tokens=4 * 64)


def test_a_trunk_is_planned_as_it_is_loaded() -> None:
    ready, plan = planned("objective=rmu", "objective.layer=3")
    trunk = load_trunk(ready.spec, plan.blocks_loaded)
    assert (plan.blocks_loaded, plan.blocks_total) == (4, 8)
    assert plan.weights == sum(p.numel() * p.element_size() for p in trunk.parameters())
    # three MLP output matrices of 128 hidden units, a reference of each, and AdamW's two moments
    assert plan.trained_tensors == 3
    assert plan.gradients == plan.reference == plan.optimizer // 2 == 4 * plan.trained_parameters


def test_an_objective_that_reads_logits_needs_every_block() -> None:
    ready, plan = planned("objective=grad_ascent")
    assert not ready.trunk
    assert plan.blocks_loaded == plan.blocks_total
    assert plan.trained_parameters == plan.total_parameters
    assert plan.reference == 0


def test_masters_are_float32_and_so_are_gradients_and_moments() -> None:
    plain, masters = (
        planned("objective=rmu", "model.dtype=bfloat16", f"trainer.master_weights={kind}")[1]
        for kind in ("none", "auto")
    )
    trained = masters.trained_parameters
    assert masters.weights - plain.weights == (4 - 2) * trained
    assert (masters.gradients, masters.optimizer, masters.reference) == (
        4 * trained,
        8 * trained,
        2 * trained,
    )
    assert (plain.gradients, plain.optimizer, plain.reference) == (2 * trained, 4 * trained, 2 * trained)
    assert masters.checkpoint == plain.checkpoint == 2 * trained
    assert planned("objective=rmu")[1] == planned("objective=rmu", "trainer.master_weights=none")[1]


def test_a_larger_micro_batch_costs_activations_only() -> None:
    ready, plan = planned()
    twice = make_plan(ready, tokens=8 * 64)
    assert twice.activations == 2 * plan.activations
    assert twice.weights == plan.weights


def test_a_dry_run_needs_no_suite_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out = succeed("train", "launch.dry_run=true", "eval=[]", "trainer.monitor.every=0").out
    assert out.split("suites", 1)[1].split()[1:2] == ["none"]
    assert not list(tmp_path.iterdir())


def test_sizes_are_readable() -> None:
    assert [size(n) for n in (12, 1_500, 2_000_000, 3_210_000_000)] == [
        "12 B",
        "1.50 kB",
        "2.00 MB",
        "3.21 GB",
    ]
