"""Provide the AdamW that transformers had before version 5, for results that were published with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer


class EarlyEpsAdamW(Optimizer):
    """AdamW with ε added to `√v` as it stands, before the bias of v is corrected, and 1e-6 by default:
    `θ ← θ − η √(1 − β2ᵗ)/(1 − β1ᵗ) · m/(√v + ε)`, then `θ ← θ − ηλθ`.

    At step t this ε weighs `1/√(1 − β2ᵗ)` times torch's: 32 times at the first step. Where gradients are of its size
    or smaller, the first steps are a fraction of those of `torch.optim.AdamW`.

    Args:
        lr, betas, eps, weight_decay: η, (β1, β2), ε, λ.
        correct_bias: false leaves `√(1 − β2ᵗ)/(1 − β1ᵗ)` out.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        correct_bias: bool = True,
    ) -> None:
        if not all(0 <= beta < 1 for beta in betas) or eps < 0 or weight_decay < 0:
            raise ValueError("betas must lie in [0, 1), eps and weight_decay be 0 or more")
        settings = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**settings, "correct_bias": correct_bias})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step on every parameter that has a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, group)
        return loss

    def _update(self, p: torch.Tensor, group: dict[str, Any]) -> None:
        assert p.grad is not None
        state, (beta1, beta2) = self.state[p], group["betas"]
        if not state:
            state |= {"step": 0, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
        state["step"] += 1
        m = state["exp_avg"].mul_(beta1).add_(p.grad, alpha=1 - beta1)
        v = state["exp_avg_sq"].mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
        rate = group["lr"]
        if group["correct_bias"]:
            rate *= math.sqrt(1 - beta2 ** state["step"]) / (1 - beta1 ** state["step"])
        p.addcdiv_(m, v.sqrt().add_(group["eps"]), value=-rate)
        p.add_(p, alpha=-group["lr"] * group["weight_decay"])
