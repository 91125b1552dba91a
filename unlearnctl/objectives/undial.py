"""UNDIAL: self-distillation on adjusted logits (Dong et al. 2024, arXiv 2402.10052)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from unlearnctl.objectives.base import RetainTerm, View
from unlearnctl.objectives.loss_level import LossLevel
from unlearnctl.ops.logprobs import shifted_targets, soft_cross_entropy
from unlearnctl.ops.precision import full


class UNDIAL(LossLevel):
    """`⟨−Σ_v q_v log p_v⟩` per forget token, q = softmax(z_θ0 − β·1[v = x_t]), plus α · retain.

    The original model teaches, its logit of the true token lowered by β.

    Args:
        beta: β, in logits.
        forget_coeff, alpha, retain: see `LossLevel`.
    """

    logits = True
    reference = True

    def __init__(
        self,
        beta: PositiveFloat,
        forget_coeff: PositiveFloat,
        alpha: NonNegativeFloat,
        retain: RetainTerm,
    ) -> None:
        super().__init__(forget_coeff, alpha, retain)
        self.beta = beta

    def forget_term(self, forget: View) -> Tensor:
        """Return the mean over predicted tokens; the logits at t − 1 predict token t."""
        assert forget.policy.logits is not None
        assert forget.reference.logits is not None
        teacher = full(forget.reference.logits[:, :-1])
        truth = shifted_targets(forget.batch.labels)
        lowered = teacher.scatter_add(-1, truth, torch.full_like(teacher[..., :1], -self.beta))
        loss = soft_cross_entropy(full(forget.policy.logits[:, :-1]), lowered.softmax(-1))
        return forget.prediction_mean(F.pad(loss, (1, 0)))
