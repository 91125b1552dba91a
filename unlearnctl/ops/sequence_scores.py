"""What a model says of single tokens. Axes: N scored positions, V vocabulary."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unlearnctl.ops.precision import full


def token_scores(
    logits: Float[Tensor, "N V"], targets: Int[Tensor, " N"], chunk: int = 1024
) -> tuple[Float[Tensor, " N"], Bool[Tensor, " N"], Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Score each target: its log-probability (nats), whether it is the most probable token, and the mean and the
    standard deviation of log p(v) over v ~ p, which Min-K%++ (arXiv 2404.02936) standardises by.

    In float32 at least, at most `chunk` positions at once, so that [N, V] is never held twice.
    """
    parts = [_scores(z, y) for z, y in zip(logits.split(chunk), targets.split(chunk), strict=True)]
    logp, hit, mean, std = (torch.cat(column) for column in zip(*parts, strict=True))
    return logp, hit, mean, std


def _scores(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    log = full(logits).log_softmax(-1)
    p = log.exp()
    mean = (p * log).sum(-1)
    # about the mean, not E[x²] − E[x]²: where p is nearly all on one token the difference would be rounding
    std = (p * (log - mean[:, None]).square()).sum(-1).sqrt()
    return log.gather(-1, targets[:, None])[:, 0], log.argmax(-1) == targets, mean, std
