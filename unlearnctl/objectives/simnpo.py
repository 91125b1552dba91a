"""SimNPO: NPO without a reference model (Fan et al. 2024, arXiv 2410.07163, equation 4)."""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from unlearnctl.objectives.base import RetainTerm, View
from unlearnctl.objectives.loss_level import LossLevel
from unlearnctl.objectives.token_weights import TokenWeights


class SimNPO(LossLevel):
    """`−(2/β) ⟨log σ(−(β/|y|) log π_θ(x_f) − γ)⟩` over sequences of |y| predicted tokens, plus α · retain.

    Args:
        beta: β, on the length-normalised log-probability.
        gamma: γ, the margin; larger stops later.
        forget_coeff, alpha, retain, token_weights: see `LossLevel`.
    """

    def __init__(
        self,
        beta: PositiveFloat,
        gamma: NonNegativeFloat,
        forget_coeff: PositiveFloat,
        alpha: NonNegativeFloat,
        retain: RetainTerm,
        token_weights: TokenWeights | None = None,
    ) -> None:
        super().__init__(forget_coeff, alpha, retain, token_weights)
        self.beta, self.gamma = beta, gamma

    def forget_term(self, forget: View) -> Tensor:
        """Return the mean over sequences."""
        length = forget.predicted.sum(-1).clamp_min(1)
        mean_logprob = self.weighted(forget, forget.logprobs).sum(-1) / length
        return forget.sequence_mean(-2 / self.beta * F.logsigmoid(-self.beta * mean_logprob - self.gamma))
