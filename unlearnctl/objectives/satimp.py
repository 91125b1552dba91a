"""SatImp: saturation and importance weights (Yang et al. 2025, arXiv 2505.11953)."""

from __future__ import annotations

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from unlearnctl.objectives.base import RetainTerm, View
from unlearnctl.objectives.loss_level import LossLevel


class SatImp(LossLevel):
    """`⟨p^β1 (1 − p)^β2 log p⟩` per forget token, p = p_θ(x_t), the weight without gradient, plus α · retain.

    The first factor lets go of tokens that are forgotten (saturation), the second of those that were never
    certain (importance).

    Args:
        beta1: β1, exponent of the saturation weight.
        beta2: β2, exponent of the importance weight.
        forget_coeff, alpha, retain: see `LossLevel`.
    """

    def __init__(
        self,
        beta1: NonNegativeFloat,
        beta2: NonNegativeFloat,
        forget_coeff: PositiveFloat,
        alpha: NonNegativeFloat,
        retain: RetainTerm,
    ) -> None:
        super().__init__(forget_coeff, alpha, retain)
        self.beta1, self.beta2 = beta1, beta2

    def forget_term(self, forget: View) -> Tensor:
        """Return the mean over predicted tokens."""
        p = forget.logprobs.detach().exp()
        return forget.prediction_mean(p**self.beta1 * (1 - p) ** self.beta2 * forget.logprobs)
