"""The AdamW of old transformers, against a loop over single numbers in float64 (point E3)."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.command import QUICK, succeed
from unlearnctl.config.compose import composed
from unlearnctl.config.targets import find_class
from unlearnctl.training.adamw import EarlyEpsAdamW
from unlearnctl.training.snapshot import load_optimizer

LR, DECAY = 5e-5, 0.01
NAME = "unlearnctl.training.adamw.EarlyEpsAdamW"


def gradients(steps: int, n: int) -> list[list[float]]:
    """Around 1e-6, ε itself, where the order of ε and correction matters most."""
    generator = torch.Generator().manual_seed(0)
    return (1e-6 * torch.randn(steps, n, generator=generator, dtype=torch.float64)).tolist()


def naive(
    start: list[float], grads: list[list[float]], eps: float, decay: float, correct: bool
) -> list[float]:
    out = []
    for i, theta in enumerate(start):
        m = v = 0.0
        for t, row in enumerate(grads, 1):
            m, v = 0.9 * m + 0.1 * row[i], 0.999 * v + 0.001 * row[i] ** 2
            rate = LR * math.sqrt(1 - 0.999**t) / (1 - 0.9**t) if correct else LR
            theta -= rate * m / (math.sqrt(v) + eps)
            theta -= LR * decay * theta
        out.append(theta)
    return out


@pytest.mark.parametrize("decay", [0.0, DECAY])
@pytest.mark.parametrize("correct", [True, False])
@pytest.mark.parametrize("eps", [1e-6, 1e-8])
def test_it_is_that_of_a_naive_loop(eps: float, correct: bool, decay: float) -> None:
    start, grads = [0.3, -1.2, 0.0, 5.0], gradients(20, 4)
    p = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = EarlyEpsAdamW([p], LR, eps=eps, weight_decay=decay, correct_bias=correct)
    for row in grads:
        p.grad = torch.tensor(row, dtype=torch.float64)
        optimizer.step()
    assert p.tolist() == pytest.approx(naive(start, grads, eps, decay, correct), rel=1e-13, abs=1e-15)


def test_the_first_steps_are_a_fraction_of_torchs_and_late_ones_are_the_same() -> None:
    """By hand, one gradient of 1e-8: torch moves by η · 1e-8/(1e-8 + 1e-8) = η/2; here √v = √.001 · 1e-8, and the
    step is η √.001/.1 · 1e-9/(√.001 · 1e-8 + 1e-6) = η · 3.161e-4."""
    moved = []
    for made in (torch.optim.AdamW, EarlyEpsAdamW):
        p = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        p.grad = torch.tensor([1e-8], dtype=torch.float64)
        made([p], lr=LR, weight_decay=0.0).step()
        moved.append(-p.item() / LR)
    assert moved[0] == pytest.approx(0.5, rel=1e-6)
    root = math.sqrt(0.001)
    assert moved[1] == pytest.approx(root / 0.1 * 1e-9 / (root * 1e-8 + 1e-6), rel=1e-9)
    ends = []
    for made in (torch.optim.AdamW, EarlyEpsAdamW):  # gradients far above ε: its place does not matter
        p = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        optimizer = made([p], lr=LR, weight_decay=0.0)
        for _ in range(5):
            p.grad = torch.tensor([1.0], dtype=torch.float64)
            optimizer.step()
        ends.append(p.item())
    assert ends[0] == pytest.approx(ends[1], rel=1e-4)


def test_its_state_is_kept_and_put_back() -> None:
    grads = gradients(6, 2)

    def steps(optimizer: EarlyEpsAdamW, p: nn.Parameter, rows: list[list[float]]) -> None:
        for row in rows:
            p.grad = torch.tensor(row)
            optimizer.step()

    whole, first = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    steps(EarlyEpsAdamW([whole], LR), whole, grads)
    before = EarlyEpsAdamW([first], LR)
    steps(before, first, grads[:3])
    second = nn.Parameter(first.detach().clone())
    after = EarlyEpsAdamW([second], LR)
    load_optimizer(after, before.state_dict())
    steps(after, second, grads[3:])
    assert torch.equal(whole, second)


@pytest.mark.full
def test_a_config_may_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = succeed("train", *QUICK, "objective=rmu", f"trainer.optimizer._target_={NAME}", "run=own")
    plain = succeed("train", *QUICK, "objective=rmu", "run=torch")
    losses = [
        [
            json.loads(line)["loss"]
            for line in (Path(run) / "metrics.jsonl").read_text().splitlines()
            if '"train"' in line
        ]
        for run in (done.run_dir, plain.run_dir)
    ]
    assert losses[0][0] == losses[1][0]
    assert losses[0][2] != losses[1][2]


@pytest.mark.parametrize("betas", [(1.0, 0.9), (0.9, -0.1)])
def test_wrong_values_are_refused(betas: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="betas must lie in"):
        EarlyEpsAdamW([nn.Parameter(torch.zeros(1))], betas=betas)


@pytest.mark.parametrize("objective", ["rmu", "rmu_adaptive"])
def test_the_recipe_of_the_published_zephyr_rows_uses_it(objective: str) -> None:
    """transformers' AdamW in both authors' code, at its defaults: ε 1e-6, no weight decay."""
    (cfg,) = composed(["model=zephyr_7b", "data=wmdp_bio_cyber", f"objective={objective}"])
    optimizer = cfg.trainer.optimizer
    assert optimizer._target_ == NAME
    assert find_class("trainer.optimizer._target_", NAME) is EarlyEpsAdamW
    made = EarlyEpsAdamW(
        [nn.Parameter(torch.zeros(1))], optimizer.lr, optimizer.betas, weight_decay=optimizer.weight_decay
    )
    group = made.param_groups[0]
    assert (group["lr"], group["betas"], group["eps"]) == (5e-5, (0.9, 0.999), 1e-6)
    assert (group["weight_decay"], group["correct_bias"]) == (0.0, True)


def test_other_methods_and_models_keep_torchs() -> None:
    for args in (["model=zephyr_7b", "data=wmdp_bio_cyber", "objective=npo"], ["objective=rmu"]):
        (cfg,) = composed(args)
        assert cfg.trainer.optimizer._target_ == "torch.optim.AdamW"
