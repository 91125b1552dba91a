"""NPO: negative preference optimisation (Zhang et al. 2024, arXiv 2404.05868, equation 3)."""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from unlearnctl.objectives.base import RetainTerm, View
from unlearnctl.objectives.loss_level import LossLevel
from unlearnctl.objectives.token_weights import TokenWeights


class NPO(LossLevel):
    """`−(2/β) ⟨log σ(−β (log π_θ(x_f) − log π_θ0(x_f)))⟩` over sequences, plus α · retain.

    Log-probabilities are sums over the sequence, of tokens times their weights if there are any (our reading). As
    β → 0 it becomes gradient ascent; a larger β saturates sooner, which is what keeps it from diverging.

    Args:
        beta: β; the paper uses 0.1.
        forget_coeff, alpha, retain, token_weights: see `LossLevel`.
    """

    reference = True

    def __init__(
        self,
        beta: PositiveFloat,
        forget_coeff: PositiveFloat,
        alpha: NonNegativeFloat,
        retain: RetainTerm,
        token_weights: TokenWeights | None = None,
    ) -> None:
        super().__init__(forget_coeff, alpha, retain, token_weights)
        self.beta = beta

    def forget_term(self, forget: View) -> Tensor:
        """Return the mean over sequences."""
        assert forget.reference.logprobs is not None
        log_ratio = self.weighted(forget, forget.logprobs - forget.reference.logprobs).sum(-1)
        return forget.sequence_mean(-2 / self.beta * F.logsigmoid(-self.beta * log_ratio))
