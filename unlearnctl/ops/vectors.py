"""Distances and directions in the residual stream. Axes: B sequences, T positions, D hidden size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor

from unlearnctl.ops.precision import full


def unit_uniform(rows: int, size: int, generator: Generator) -> Float[Tensor, "rows size"]:
    """Draw `rows` unit vectors r/‖r‖ with r ~ U[0,1)^size: RMU's control vectors (arXiv 2403.03218, section 4).

    All entries are positive, as in the paper's code, so the vectors lie in one orthant and are not uniform
    on the sphere.
    """
    return F.normalize(torch.rand(rows, size, generator=generator), dim=-1)


def mean_square(x: Float[Tensor, "B T D"], y: Float[Tensor, "*#shape D"]) -> Float[Tensor, "B T"]:
    """Return ‖x − y‖²/D per token, in float32 whatever the inputs are."""
    return (full(x) - full(y)).square().mean(-1)


def cosine(x: Float[Tensor, "B T D"], y: Float[Tensor, "*#shape D"]) -> Float[Tensor, "B T"]:
    """Return cos(x, y) per token, in float32."""
    return F.cosine_similarity(full(x), full(y), dim=-1)


def norm_ratio(x: Float[Tensor, "B T D"], y: Float[Tensor, "B T D"]) -> Float[Tensor, "B T"]:
    """Return ‖x‖/‖y‖ per token, in float32."""
    return full(x).norm(dim=-1) / full(y).norm(dim=-1).clamp_min(1e-12)
