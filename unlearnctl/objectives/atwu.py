"""ATWU: alternating token-weighted unlearning (arXiv 2606.06320; equations seen in an early version of its code)."""

from __future__ import annotations

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from unlearnctl.objectives.base import RetainTerm, View
from unlearnctl.objectives.loss_level import LossLevel
from unlearnctl.objectives.token_weights import TokenWeights


class ATWU(LossLevel):
    """`−γ ⟨g_t ℓ_t · sg[exp(−g_t ℓ_t)]^β⟩ + α · retain`, ℓ_t = −log p_θ(x_t), g_t the importance of a token.

    The model steps with g fixed; the scorer steps in between (`token_weights.Learned`). The last factor, without
    gradient, lets go of a token as it is forgotten, later the less it matters.

    Args:
        beta: β; the paper uses 5.
        forget_coeff, alpha, retain, token_weights: see `LossLevel`.
    """

    def __init__(
        self,
        beta: NonNegativeFloat,
        forget_coeff: PositiveFloat,
        alpha: NonNegativeFloat,
        retain: RetainTerm,
        token_weights: TokenWeights,
    ) -> None:
        super().__init__(forget_coeff, alpha, retain, token_weights)
        self.beta = beta

    def forget_term(self, forget: View) -> Tensor:
        """Return the mean over predicted tokens."""
        loss = -self.weighted(forget, forget.logprobs)
        return forget.prediction_mean(-loss * (-self.beta * loss.detach()).exp())
