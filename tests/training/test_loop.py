"""Equivalent settings give the same trajectory; bad numbers, Ctrl-C and bounds end a run cleanly."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from tests.training.synthetic import make_trainer
from unlearnctl.objectives.altpo import AltPO
from unlearnctl.objectives.atwu import ATWU
from unlearnctl.objectives.base import Loss, Objective
from unlearnctl.objectives.ceu import CEU
from unlearnctl.objectives.circuit_breaking import CircuitBreaking
from unlearnctl.objectives.dpo import DPO
from unlearnctl.objectives.grad_ascent import GradAscent
from unlearnctl.objectives.grad_diff import GradDiff
from unlearnctl.objectives.idk_dpo import IdkDPO
from unlearnctl.objectives.nll import NLL as Finetune
from unlearnctl.objectives.npo import NPO
from unlearnctl.objectives.pdu import PDU
from unlearnctl.objectives.retain import KL, NLL, EmbedDiff
from unlearnctl.objectives.rmu import RMU
from unlearnctl.objectives.rmu_adaptive import RMUAdaptive
from unlearnctl.objectives.rmu_cosine import RMUCosine
from unlearnctl.objectives.satimp import SatImp
from unlearnctl.objectives.simnpo import SimNPO
from unlearnctl.objectives.token_weights import Learned
from unlearnctl.objectives.undial import UNDIAL
from unlearnctl.objectives.wga import WGA
from unlearnctl.training.loop import Trainer

GOLDEN = Path(__file__).parent.parent / "golden" / "trajectories.json"


def scorer(**changes: object) -> Learned:
    """Token weights that learn every second step."""
    settings = {
        "every": 2, "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4, "clip": 1.0, "decay_steps": 10, "entropy": 0.1,
        "population": 5.0, "share": 0.2, "l2": 0.01, "shift": "own", "loss": "raw", "relative": True,
        "normalised": True,
    }  # fmt: skip
    return Learned(**{**settings, **changes})  # type: ignore[arg-type]


OBJECTIVES = {
    "rmu": lambda: RMU(4, 4.0, 10.0, relative="mean"),
    "rmu_cosine": lambda: RMUCosine([3, 4], "away", 5.0, 0.1),
    "npo": lambda: NPO(0.1, 1.0, 1.0, NLL()),
    "rmu_adaptive": lambda: RMUAdaptive(4, 5.0, 10.0, "per_token"),
    "grad_ascent": GradAscent,
    "grad_diff": lambda: GradDiff(1.0, 1.0, NLL()),
    "nll": Finetune,
    "npo_embed_diff": lambda: NPO(0.1, 1.0, 1.0, EmbedDiff([3])),
    "wga": lambda: WGA(1.0, 1.0, 1.0, NLL()),
    "satimp": lambda: SatImp(2.0, 1.0, 1.0, 1.0, NLL()),
    "ceu": lambda: CEU(1.0, 1.0, NLL()),
    "undial": lambda: UNDIAL(3.0, 1.0, 1.0, NLL()),
    "pdu": lambda: PDU(10.0, 0.02, 1.0, 1.0, NLL()),
    "dpo": lambda: DPO(0.1, 1.0, 1.0, NLL()),
    "idk_dpo": lambda: IdkDPO(0.1, 1.0, 1.0, NLL()),
    "altpo": lambda: AltPO(0.3, 1.0, 1.0, KL()),
    "atwu": lambda: ATWU(1.0, 1.0, 1.0, NLL(), scorer()),
    "npo_token_weights": lambda: NPO(0.1, 1.0, 1.0, NLL(), scorer(loss="known", shift="previous")),
    "rmu_noise": lambda: RMU(4, 4.0, 10.0, retain_noise=0.2),
    "circuit_breaking": lambda: CircuitBreaking([3, 4], 10.0, 1000),
    "simnpo_kl": lambda: SimNPO(0.5, 0.0, 1.0, 0.1, KL()),
}


def trajectory(trainer: Trainer) -> tuple[list[float], dict[str, torch.Tensor]]:
    losses: list[float] = []
    trainer.on_step = lambda row: losses.append(row["loss"])
    trainer.fit()
    return losses, {n: p.detach().clone() for n, p in trainer.tapped.trained().items()}


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("micro", [4, pytest.param(1, marks=pytest.mark.full)])
def test_accumulation_changes_nothing(name: str, micro: int) -> None:
    """1 × 8, 2 × 4 and 8 × 1 sequences: losses to 1e-6; weights to Adam's amplification of rounding."""
    a, whole = trajectory(make_trainer(OBJECTIVES[name](), topics=2, micro_batch=8))
    b, split = trajectory(make_trainer(OBJECTIVES[name](), topics=2, micro_batch=micro))
    assert b == pytest.approx(a, rel=2e-5)
    for key in whole:
        # Adam divides by |g|: a gradient near zero turns rounding into a visible, but harmless, step
        assert (whole[key] - split[key]).abs().mean() < 1e-6


@pytest.mark.parametrize("name", OBJECTIVES)
def test_golden_trajectory(name: str) -> None:
    """Ten steps, bit for bit twice in a row, descending, and equal to the kept losses.

    To renew them after an intended change: delete the objective's line and run the test.
    """
    first, weights = trajectory(make_trainer(OBJECTIVES[name](), optimizer={"lr": 2e-3}))
    again, same = trajectory(make_trainer(OBJECTIVES[name](), optimizer={"lr": 2e-3}))
    assert first == again
    assert all(torch.equal(weights[k], same[k]) for k in weights)
    assert sum(first[-4:]) < sum(first[:4])
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.is_file() else {}
    if name not in golden:
        GOLDEN.write_text(json.dumps({**golden, name: first}, indent=1) + "\n")
        pytest.fail(f"{name} had no golden trajectory: written, look at it and commit it")
    assert first == pytest.approx(golden[name], rel=1e-4)


def test_every_trainable_parameter_moves_and_no_other() -> None:
    trainer = make_trainer(RMU(4, 4.0, 10.0))
    before = {n: p.detach().clone() for n, p in trainer.tapped.model.named_parameters()}
    trainer.fit()
    moved = {n for n, p in trainer.tapped.model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == set(trainer.tapped.trainable)


class Explodes(RMU):
    """NaN in its retain term from the fourth loss on."""

    calls = 0

    def forward(self, forget, retain) -> Loss:
        self.calls += 1
        out = super().forward(forget, retain)
        return (
            Loss(out.total * float("nan"), {**out.terms, "retain": out.terms["retain"] * float("nan")})
            if self.calls > 3
            else out
        )


def test_nan_stops_with_the_terms_name_and_the_last_good_weights() -> None:
    good = make_trainer(RMU(4, 4.0, 10.0), steps=3)
    good.fit()
    trainer = make_trainer(Explodes(4, 4.0, 10.0))
    fit = trainer.fit()
    assert (fit.status, fit.steps) == ("diverged", 3)
    assert fit.stop_reason == "loss term 'retain' is nan at step 4"
    expected = good.tapped.trained()
    for name, value in trainer.tapped.trained().items():
        assert torch.equal(value, expected[name])


def test_ctrl_c_finishes_the_step_and_stops() -> None:
    trainer = make_trainer(RMU(4, 4.0, 10.0))
    trainer.on_step = lambda row: os.kill(os.getpid(), signal.SIGINT) if row["step"] == 4 else None
    fit = trainer.fit()
    assert (fit.status, fit.steps) == ("interrupted", 4)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_after_step_can_stop() -> None:
    trainer = make_trainer(RMU(4, 4.0, 10.0))
    trainer.after_step = lambda step, last: "enough" if step == 5 else None
    fit = trainer.fit()
    assert (fit.status, fit.stop_reason, fit.steps) == ("stopped_early", "enough", 5)


def test_clipping_bounds_the_step_and_reports_the_norm() -> None:
    rows: list[dict] = []
    trainer = make_trainer(RMU(4, 4.0, 10.0), clip_norm=1e-9)
    trainer.on_step = rows.append
    seen: list[float] = []
    step = trainer.optimizer.step
    trainer.optimizer.step = lambda: (
        seen.append(max(p.grad.norm().item() for p in trainer.parameters)),
        step(),
    )  # type: ignore[assignment, func-returns-value, return-value]
    trainer.fit()
    assert max(seen) <= 1e-9
    assert all(row["grad_norm"] > 1e-3 for row in rows)


def set_scale(trainer: Trainer, scale: float) -> Trainer:
    scaler = trainer.accelerator.scaler
    scaler.load_state_dict({**scaler.state_dict(), "scale": scale})
    return trainer


@pytest.fixture
def half() -> Iterator[Callable[..., Trainer]]:
    """A trainer in fp16 mixed precision, on a processor, whose loss is scaled by `scale` at first."""

    def make(scale: float, **settings: object) -> Trainer:
        return set_scale(make_trainer(RMU(4, 4.0, 10.0), mixed_precision="fp16", **settings), scale)

    AcceleratorState._reset_state(reset_partial_state=True)  # accelerate keeps the precision for the process
    yield make
    AcceleratorState._reset_state(reset_partial_state=True)


def test_a_step_that_overflows_under_the_loss_scale_is_left_out(half: Callable[..., Trainer]) -> None:
    rows: list[dict] = []
    trainer = half(2.0**40, schedule="linear", steps=4)
    trainer.on_step = rows.append
    before = trainer.parameters[0].detach().clone()
    trainer.advance()
    assert torch.equal(before, trainer.parameters[0])
    assert trainer.accelerator.scaler.get_scale() == 2.0**39
    fit = set_scale(trainer, 2.0**4).fit()
    assert (fit.status, fit.steps) == ("completed", 4)
    assert [row.get("skipped", False) for row in rows] == [True, False, False, False]
    assert "grad_norm" not in rows[0]
    assert [row["lr"] for row in rows] == pytest.approx([1e-3, 1e-3, 7.5e-4, 5e-4])  # the schedule waits
    assert not torch.equal(before, trainer.parameters[0])


def test_a_loss_scale_changes_nothing_but_the_rounding(half: Callable[..., Trainer]) -> None:
    """Between two scales at which hardly any half-precision gradient is too small to be held in full, or too large."""
    losses, weights = trajectory(half(2.0**12, clip_norm=1.0))
    others, scaled = trajectory(half(2.0**13, clip_norm=1.0))
    assert others == pytest.approx(losses, rel=1e-6)
    for name, value in weights.items():
        assert (scaled[name] - value).abs().mean() < 1e-8, name


def test_a_gradient_that_no_loss_scale_makes_finite_is_a_fault(half: Callable[..., Trainer]) -> None:
    trainer = half(1.0)
    trainer.parameters[0].register_hook(lambda gradient: gradient * math.inf)
    fit = trainer.fit()
    assert fit.status == "diverged"
    assert fit.stop_reason is not None
    assert "the gradient is" in fit.stop_reason


def test_schedule_and_rows() -> None:
    rows: list[dict] = []
    trainer = make_trainer(RMU(4, 4.0, 10.0), schedule="linear", warmup_steps=2)
    trainer.on_step = rows.append
    fit = trainer.fit()
    assert [round(r["lr"], 6) for r in rows[:3]] == [0.0, 0.0005, 0.001]
    assert rows[-1]["lr"] == pytest.approx(1e-3 / 8)
    assert {"kind", "step", "loss", "terms", "lr", "grad_norm", "seconds"} <= set(rows[0])
    assert fit.tokens == {"forget": 990, "retain": 990}


def test_objective_base_declares_nothing() -> None:
    with pytest.raises(NotImplementedError):
        Objective().needs()
