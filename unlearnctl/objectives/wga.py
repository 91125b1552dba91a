"""WGA: weighted gradient ascent (Wang et al. 2025, arXiv 2502.19301)."""

from __future__ import annotations

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from unlearnctl.objectives.base import RetainTerm, View
from unlearnctl.objectives.loss_level import LossLevel


class WGA(LossLevel):
    """`⟨p_θ(x_t)^β log p_θ(x_t)⟩` per forget token, the weight without gradient, plus α · retain.

    The weight fades as a token is forgotten, which keeps ascent from running away; β = 0 is gradient ascent.

    Args:
        beta: β, how fast the weight fades.
        forget_coeff, alpha, retain: see `LossLevel`.
    """

    def __init__(
        self,
        beta: NonNegativeFloat,
        forget_coeff: PositiveFloat,
        alpha: NonNegativeFloat,
        retain: RetainTerm,
    ) -> None:
        super().__init__(forget_coeff, alpha, retain)
        self.beta = beta

    def forget_term(self, forget: View) -> Tensor:
        """Return the mean over predicted tokens."""
        weight = (self.beta * forget.logprobs.detach()).exp()
        return forget.prediction_mean(weight * forget.logprobs)
