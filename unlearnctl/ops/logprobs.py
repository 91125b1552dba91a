"""Log-probabilities of the tokens that count. Axes: B sequences, T positions, V vocabulary, D hidden size."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from unlearnctl.ops.precision import full

IGNORE = -100
LOGITS = 1 << 27  # in memory at once: .5 GB in float32, and four times that in a backward pass


def prediction_mask(labels: Int[Tensor, "B T"], attention_mask: Int[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """Mark the positions t whose token is predicted: a label that counts, after a real token at t − 1."""
    mask = labels != IGNORE
    # The first token has no predecessor; with padding on the left, neither has the first real one.
    mask[:, 0] = False
    mask[:, 1:] &= attention_mask[:, :-1].bool()
    return mask


def token_logprobs(
    head: Callable[[Tensor], Tensor],
    hidden: Float[Tensor, "B T D"],
    labels: Int[Tensor, "B T"],
    attention_mask: Int[Tensor, "B T"],
    chunk: int = 4096,
) -> Float[Tensor, "B T"]:
    """Return log p(token t | tokens before t) in float32 at position t; 0 where no prediction counts.

    `head` maps hidden states [1, N, D] to logits [1, N, V]. Only the positions that count go through it, at
    most `chunk` of them at once and recomputed in the backward pass, so that [B, T, V] never exists.
    """
    counted = prediction_mask(labels, attention_mask)
    rows = hidden[:, :-1][counted[:, 1:]]
    targets = labels[counted]
    # A single chunk is not recomputed: its logits fit, and the head would run twice for nothing.
    parts = [
        _run(_chunk_logprobs, head, h, y, recompute=rows.shape[0] > chunk)
        for h, y in zip(rows.split(chunk), targets.split(chunk), strict=True)
    ]
    out = torch.zeros(labels.shape, dtype=torch.float32, device=hidden.device)
    return out.masked_scatter(counted, torch.cat(parts)) if parts else out


def _chunk_logprobs(head: Callable[[Tensor], Tensor], hidden: Tensor, targets: Tensor) -> Tensor:
    return -F.cross_entropy(head(hidden[None])[0].float(), targets, reduction="none")


def _run(function: Callable[..., Tensor], *args: object, recompute: bool) -> Tensor:
    if recompute and torch.is_grad_enabled():
        return checkpoint(function, *args, use_reentrant=False)
    return function(*args)


def kl_divergence(
    policy_logits: Float[Tensor, "B T V"], reference_logits: Float[Tensor, "B T V"]
) -> Float[Tensor, "B T"]:
    """Return KL(reference ‖ policy) in nats per position, in float32."""
    log_policy = full(policy_logits).log_softmax(-1)
    log_reference = full(reference_logits).log_softmax(-1)
    return (log_reference.exp() * (log_reference - log_policy)).sum(-1)


def shifted_targets(labels: Int[Tensor, "B T"]) -> Int[Tensor, "B T1 1"]:
    """Return the token that each position but the last predicts, to index logits with; 0 where none counts."""
    return labels[:, 1:, None].clamp_min(0)


def soft_cross_entropy(
    logits: Float[Tensor, "B T V"], target: Float[Tensor, "B T V"]
) -> Float[Tensor, "B T"]:
    """Return −Σ_v target_v log softmax(logits)_v in nats per position."""
    return -(target * logits.log_softmax(-1)).sum(-1)
