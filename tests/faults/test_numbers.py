"""A loss that is not finite, or too little memory: what is kept, what is said, what continues."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from tests.command import run, succeed
from tests.faults.conftest import MEASURE, SHORT
from tests.faults.inject import at_step, bad_term, complete, memory_for, too_little
from tests.unlearning.same_outcome import outcome
from unlearnctl.models.delta import read_delta
from unlearnctl.results.run import load_run
from unlearnctl.training import checkpoint
from unlearnctl.training.loop import Trainer
from unlearnctl.unlearning import session as stage_run

RUN = Path("outputs/train/n/r")
RATE = "trainer.optimizer.lr"


def results() -> dict[str, Any]:
    return json.loads((RUN / "results.json").read_text())


def after_steps(count: int) -> dict[str, torch.Tensor]:
    """The tensors of a run of so many steps."""
    folder = Path(succeed("train", *SHORT, f"trainer.steps={count}", f"run=first{count}").run_dir)
    return read_delta(folder / "checkpoint")[0]


def divergence(what: str, after: int, lr: str = "0.0003") -> str:
    return (
        f"error: {what}; the weights before it are in {RUN}/checkpoint. Try a smaller learning rate, "
        f"trainer.clip_norm=1.0: unlearnctl train resume={RUN} {RATE}={lr} (after step {after} of 4)\n"
    )


@pytest.mark.full
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_term_that_is_not_finite(value: float, undisturbed: dict[str, Any]) -> None:
    with bad_term(4, value):
        done = run("train", *SHORT, "run=r")
    assert done.code == 2
    assert done.err == divergence(f"loss term 'forget' is {value} at step 4", 2)
    record = results()
    assert (record["status"], record["after"], record["train"]["steps"]) == ("diverged", {}, 3)
    kept, good = read_delta(RUN / "checkpoint")[0], after_steps(3)
    assert all(torch.equal(kept[name], good[name]) for name in good)
    assert [
        checkpoint.read(p)[0]["trainer"]["fit"]["steps"] for p in checkpoint.numbered(RUN / "training")
    ] == [2]
    complete(RUN)
    load_run(RUN)
    assert "resuming after step 2 of 4" in succeed("train", f"resume={RUN}").out
    assert outcome(RUN) == undisturbed


@pytest.mark.full
def test_a_gradient_that_is_not_finite(undisturbed: dict[str, Any]) -> None:
    clip = Trainer._clip

    def broken(self: Trainer) -> float:
        if self.result.steps == 2:
            self.parameters[0].grad.view(-1)[0] = math.nan  # type: ignore[union-attr]
        return clip(self)

    with mock.patch.object(Trainer, "_clip", broken):
        done = run("train", *SHORT, "run=r")
    assert done.err == divergence("the gradient is nan at step 3", 1)
    succeed("train", f"resume={RUN}")
    assert outcome(RUN) == undisturbed


@pytest.mark.full
def test_a_weight_that_is_not_finite_is_never_saved(undisturbed: dict[str, Any]) -> None:
    def break_weights(trainer: Trainer) -> None:
        with torch.no_grad():
            trainer.parameters[0].view(-1)[0] = math.nan

    with at_step(4, break_weights, after=True):
        done = run("train", *SHORT, "run=r")
    assert done.code == 2
    assert (
        "a weight is not finite after step 4; no weights are saved, because those before it were not"
        in done.err
    )
    assert not (RUN / "checkpoint").exists()
    for path in checkpoint.numbered(RUN / "training"):
        assert all(t.isfinite().all() for t in checkpoint.read(path)[0]["trainer"]["tensors"].values())
    assert "resuming after step 3 of 4" in succeed("train", f"resume={RUN}").out
    assert outcome(RUN) == undisturbed


@pytest.mark.full
def test_resuming_at_a_smaller_rate() -> None:
    """The rate that broke it, for real; then a tenth of another, from the last checkpoint that is known to be good."""
    done = run("train", *SHORT, f"{RATE}=1e30", "run=r")
    assert done.code == 2
    assert " is nan at step 2; the weights before it are in " in done.err
    assert done.err.endswith(f"resume={RUN} {RATE}=1e+29 (from the beginning)\n")
    succeed("train", f"resume={RUN}", f"{RATE}=1e-4")
    assert results()["status"] == "completed"
    assert results()["config"]["trainer"]["optimizer"]["lr"] == 1e-4
    succeed("train", *SHORT, f"{RATE}=1e-4", "run=s")
    assert outcome(RUN) == outcome(RUN.with_name("s"))


@pytest.mark.full
def test_another_rate_half_way_is_taken_and_recorded() -> None:
    with bad_term(4, math.nan):
        assert run("train", *SHORT, "trainer.schedule=linear", f"{RATE}=1e-3", "run=r").code == 2
    done = succeed("train", f"resume={RUN}", f"{RATE}=1e-4")
    assert f"resume: {RATE}=0.0001 from here on, 0.001 before" in done.out
    assert results()["provenance"]["changed"] == [{"after_step": 2, RATE: [1e-3, 1e-4]}]
    rows = load_run(RUN).train
    assert [row["lr"] for row in rows] == pytest.approx([1e-3, 0.75e-3, 0.5e-4, 0.25e-4])
    assert "lr: 0.0001" in (RUN / "config.yaml").read_text()


@pytest.mark.full
def test_an_absolute_rate_replaces_a_relative_one_half_way() -> None:
    with bad_term(4, math.nan):
        assert run("train", *SHORT, f"{RATE}=null", "trainer.relative_lr=0.01", "run=r").code == 2
    succeed("train", f"resume={RUN}", f"{RATE}=1e-4")
    changed = {RATE: [None, 1e-4], "trainer.relative_lr": [0.01, None]}
    assert results()["provenance"]["changed"] == [{"after_step": 2, **changed}]
    rates = [row["lr"] for row in load_run(RUN).train]
    assert rates[0] == rates[1] > 2e-4
    assert rates[2:] == [1e-4, 1e-4]
    assert results()["train"]["lr"] == 1e-4


@pytest.mark.full
@pytest.mark.parametrize("kind", ["gpu", "cpu", "python"])
def test_too_little_memory_says_what_to_lower(kind: str) -> None:
    with memory_for(2, kind, step=3):
        done = run("train", *SHORT, "run=r")
    assert done.code == 2
    assert done.err == (
        "error: out of memory at step 3: lower trainer.micro_batch=4 (the result stays the same) or data.max_length=64,"
        " or set trainer.gradient_checkpointing=true or launch=multi_gpu trainer.sharding=fsdp: unlearnctl train "
        f"resume={RUN} trainer.micro_batch=2 (after step 2 of 4)\n"
    )
    complete(RUN)
    with memory_for(2, kind):
        done = succeed("train", f"resume={RUN}", "trainer.micro_batch=2")
    assert "resume: trainer.micro_batch=2 from here on, None before" in done.out
    assert results()["status"] == "completed"


def tensors(name: str) -> dict[str, torch.Tensor]:
    return read_delta(RUN.with_name(name) / "checkpoint")[0]


@pytest.mark.full
@pytest.mark.parametrize("way", [(), ("objective.retain_noise=0.1",)], ids=["plain", "random"])
def test_halving_is_the_run_with_the_smaller_micro_batch(way: tuple[str, ...]) -> None:
    with memory_for(2, "gpu"):
        done = succeed("train", *SHORT, *way, "trainer.on_oom=halve", "run=r")
    said = "out of memory at step 1: trainer.micro_batch 4 → 2 from here on; trainer.global_batch=4 stays"
    assert done.out.count(said) == 1
    assert results()["train"].pop("micro_batch") == 2
    succeed("train", *SHORT, *way, "trainer.micro_batch=2", "run=two")
    halved, two = tensors("r"), tensors("two")
    assert all(torch.equal(halved[name], two[name]) for name in two)


@pytest.mark.full
def test_halving_half_way_is_kept_by_a_resumption() -> None:
    def cut(trainer: Trainer) -> None:
        raise KeyboardInterrupt

    with memory_for(1, "cpu", step=2), at_step(4, cut):
        done = run("train", *SHORT, "trainer.on_oom=halve", "run=r")
    assert done.code == 130
    assert [line for line in done.out.splitlines() if "out of memory" in line] == [
        f"out of memory at step 2: trainer.micro_batch {was} → {now} from here on; trainer.global_batch=4 stays"
        for was, now in ((4, 2), (2, 1))
    ]
    with memory_for(1, "cpu"):
        assert "out of memory" not in succeed("train", f"resume={RUN}").out
    with at_step(2, cut):
        assert run("train", *SHORT, "run=one").code == 130
    succeed("train", "resume=outputs/train/n/one", "trainer.micro_batch=1")  # the same split at the same step
    halved, one = tensors("r"), tensors("one")
    assert all(torch.equal(halved[name], value) for name, value in one.items())


@pytest.mark.full
def test_one_sequence_that_does_not_fit_is_said() -> None:
    with memory_for(0, "gpu"):
        done = run("train", *SHORT, "trainer.on_oom=halve", "run=r")
    assert done.code == 2
    assert done.err.startswith("error: out of memory at step 1: lower data.max_length=64, or set ")


@pytest.mark.full
def test_too_little_memory_in_the_final_evaluation(undisturbed: dict[str, Any]) -> None:
    def fail(*args: object) -> None:
        raise too_little("cpu")

    with mock.patch.object(stage_run, "apply_delta", fail):
        done = run("train", *SHORT, "run=r")
    assert done.code == 2
    assert done.err == (
        "error: out of memory in evaluation: lower eval.smoke.batch_tokens=4096; "
        f"resume with unlearnctl train resume={RUN} (after step 4 of 4)\n"
    )
    succeed("train", f"resume={RUN}")
    assert outcome(RUN) == undisturbed


@pytest.mark.full
def test_too_little_memory_in_eval(whole: Path) -> None:
    with mock.patch("unlearnctl.commands.eval.evaluate", side_effect=too_little("gpu")):
        done = run("eval", *MEASURE, f"run_dir={whole}", "run=e")
    assert done.code == 2
    assert done.err == (
        "error: out of memory in evaluation: lower eval.smoke.batch_tokens=4096; the answers are kept, so the same "
        "command with run=e asks none of them again\n"
    )


@pytest.mark.full
def test_halving_is_refused_where_ranks_would_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("train", *SHORT, "trainer.on_oom=halve", "launch=cpu", "launch.num_processes=2", "run=r")
    assert done.code == 2
    assert done.err.startswith("error: trainer.on_oom=halve: requires a single process, and this run has 2: ")
    assert not RUN.exists()
