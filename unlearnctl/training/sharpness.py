"""Unlearn sharpness-aware (Fan et al. 2025, arXiv 2502.05374): forget where the neighbourhood forgets too.

`min_θ max_{‖δ‖ ≤ ρ} ℓ_f(θ + δ) + ℓ_r(θ)`: flat minima of the forget loss are harder to relearn from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


@torch.no_grad()
def ascent(parameters: Sequence[torch.nn.Parameter], rho: float) -> list[Tensor]:
    """Return δ = ρ g/‖g‖ over all parameters at once (SAM, arXiv 2010.01412, equation 2), and free the gradients."""
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    # In float32: bf16 has too few bits for a sum of millions of squares, and in fp16 small ones vanish.
    norm = torch.stack([g.float().norm() for g in grads]).norm().clamp_min(1e-12)
    for parameter in parameters:  # the direction is no part of the step: later passes add to `grad`
        parameter.grad = None
    return [g * (rho / norm).to(g.dtype) for g in grads]


@contextmanager
def perturbed(parameters: Sequence[torch.nn.Parameter], delta: Sequence[Tensor]) -> Iterator[None]:
    """Hold the parameters at θ + δ inside, and at θ again afterwards, bit for bit."""
    # Kept and copied back, not subtracted: in floating point (θ + δ) − δ is not θ.
    held = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for parameter, step in zip(parameters, delta, strict=True):
            parameter.add_(step)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, held, strict=True):
                parameter.copy_(value)
