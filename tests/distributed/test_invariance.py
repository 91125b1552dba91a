"""The number of processes changes only the time: the same run through the command line on 1, 2 and 4."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from tests.command import succeed
from tests.distributed.test_start import alive, wait_for
from unlearnctl import tinyworld
from unlearnctl.distributed.launcher import free_port

GLOBAL = 8  # 1 × 8, 2 × 4, 4 × 2


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny world in fp32: the shipped bf16 shards would round the differences to nothing, or to much more."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("model")
    whole = AutoModelForCausalLM.from_pretrained(tinyworld.model_dir(), dtype=torch.float32)
    whole.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tinyworld.model_dir()).save_pretrained(folder)
    return folder


def overrides(model: Path, out: Path, *more: str) -> list[str]:
    return [
        "train", "objective=rmu", f"model.path={model}", "trainer.device=cpu", "trainer.optimizer.lr=5e-5",
        f"trainer.global_batch={GLOBAL}", "trainer.monitor.every=0", "eval=[tinyworld]", "eval.tinyworld.limit=20",
        f"output_dir={out}", "name=n", *more,
    ]  # fmt: skip


def start(module: Sequence[str], args: Sequence[str]) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    return subprocess.Popen(
        [sys.executable, "-m", *module, *args],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen, code: int = 0) -> str:
    out, errors = process.communicate(timeout=300)
    assert process.returncode == code, errors
    return out


def values(run: Path) -> dict[str, float]:
    after: dict[str, Any] = json.loads((run / "results.json").read_text())["after"]
    return {f"{s}.{m}": metric["value"] for s, metrics in after.items() for m, metric in metrics.items()}


def assert_same(found: Path, expected: Path) -> None:
    """The weights of two runs, to 1e-6 of the largest, and their scores."""
    weights, others = (load_file(run / "checkpoint/delta.safetensors") for run in (expected, found))
    assert others.keys() == weights.keys()
    largest = max(value.abs().max() for value in weights.values())
    assert max((others[key] - value).abs().max() for key, value in weights.items()) <= 1e-6 * largest
    assert values(found) == pytest.approx(values(expected), rel=1e-5)


def test_two_processes_give_the_weights_and_scores_of_one(model: Path, tmp_path: Path) -> None:
    """At the default rate: Adam divides by |g|, so rounding in a gradient near zero grows with the rate."""
    steps, runs = "trainer.steps=6", tmp_path / "train" / "n"
    succeed(*overrides(model, tmp_path, steps, "run=1"))
    out = finish(start(["unlearnctl"], overrides(model, tmp_path, steps, "run=2", "launch=cpu")))
    assert out.count("run: ") == out.count("step 6/6") == 1  # one rank speaks
    assert_same(runs / "2", runs / "1")
    assert len((runs / "2" / "metrics.jsonl").read_text().splitlines()) == 6


@pytest.mark.full
def test_four_processes_of_torchrun_and_an_evaluation_on_two(model: Path, tmp_path: Path) -> None:
    steps, runs = "trainer.steps=6", tmp_path / "train" / "n"
    succeed(*overrides(model, tmp_path, steps, "run=1"))
    torchrun = ["torch.distributed.run", "--nproc_per_node", "4", "--master_port", str(free_port()), "-m"]
    finish(start([*torchrun, "unlearnctl"], overrides(model, tmp_path, steps, "run=4")))
    assert_same(runs / "4", runs / "1")
    assert len((runs / "4" / "metrics.jsonl").read_text().splitlines()) == 6

    finish(start(
        ["unlearnctl"],
        ["eval", f"run_dir={runs / '1'}", "eval=[tinyworld]", "eval.tinyworld.limit=20", "launch=cpu", "device=cpu",
         f"output_dir={tmp_path}", "name=n", "run=e"],
    ))  # fmt: skip
    assert values(tmp_path / "eval" / "n" / "e") == pytest.approx(values(runs / "1"), rel=1e-5)


@pytest.mark.full
@pytest.mark.parametrize(
    "how",
    [
        ("objective=npo", "trainer.lora={rank: 2, alpha: 4}"),
        ("objective=atwu",),  # reads the model after training once more
        # and before, for its probes; rounding becomes a step in proportion to the rate, and here gradients are small
        ("objective=probe_directions", "data=tinyworld_toxic", "trainer.optimizer.lr=5e-6"),
    ],
)
def test_a_sliced_model_gives_the_same_weights_and_scores(
    how: tuple[str, ...], model: Path, tmp_path: Path
) -> None:
    """Objectives of logits train the model that evaluation would read, were it not sliced."""
    how, runs = ("trainer.steps=3", *how), tmp_path / "train" / "n"
    succeed(*overrides(model, tmp_path, *how, "run=1"))
    slices = ("launch=cpu", "trainer.sharding=fsdp", "trainer.checkpoint.every=1e-9")
    out = finish(start(["unlearnctl"], overrides(model, tmp_path, *how, *slices, "run=2")))
    assert "held in training" in out
    assert_same(runs / "2", runs / "1")
    records = [json.loads((runs / run / "results.json").read_text())["train"] for run in "12"]
    weights = [record.get("token_weights", {}).get("mean", 0.0) for record in records]
    assert weights[1] == pytest.approx(weights[0], rel=1e-4)
    held = [record["memory"]["weights"] for record in records]
    assert held[1] == pytest.approx(held[0] / 2, rel=0.01)


@pytest.mark.full
def test_ctrl_c_on_two_processes_saves_and_leaves_none(model: Path, tmp_path: Path) -> None:
    run = tmp_path / "train" / "n" / "c"
    started = start(["unlearnctl"], overrides(model, tmp_path, "run=c", "launch=cpu", "trainer.steps=2000"))
    metrics = run / "metrics.jsonl"
    assert wait_for(lambda: metrics.is_file() and metrics.read_text().count("\n") >= 3)
    family = psutil.Process(started.pid).children(recursive=True)
    started.send_signal(signal.SIGINT)
    finish(started, 130)
    assert not alive([process.pid for process in family])
    record = json.loads((run / "results.json").read_text())
    assert record["status"] == "interrupted"
    assert load_file(run / "checkpoint" / "delta.safetensors")
