"""PDU: primal-dual unlearning with a bound on the retain loss (Entesari et al. 2025, arXiv 2506.05314)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat
from torch import Tensor

from unlearnctl.objectives.base import RetainTerm, View
from unlearnctl.objectives.loss_level import LossLevel
from unlearnctl.ops.precision import full


class PDU(LossLevel):
    """`⟨(max_v z_v − mean_v z_v)²⟩` per forget token (flat logits), plus λ · retain with a learned λ.

    Minimise the forget term subject to retain ≤ ε: after each step, from step `dual_warmup` + 1 on,
    λ ← max(0, λ + η (retain − ε)).

    Args:
        bound: ε, the retain loss that is allowed.
        dual_step: η.
        dual_warmup: steps before λ moves; the authors have five epochs.
        forget_coeff, retain: see `LossLevel`; `alpha` is where λ starts.
    """

    logits = True
    multiplier: Tensor

    def __init__(
        self,
        bound: NonNegativeFloat,
        dual_step: NonNegativeFloat,
        forget_coeff: PositiveFloat,
        alpha: NonNegativeFloat,
        retain: RetainTerm,
        dual_warmup: NonNegativeInt = 0,
    ) -> None:
        super().__init__(forget_coeff, alpha, retain)
        self.bound, self.dual_step, self.dual_warmup, self.done = bound, dual_step, dual_warmup, 0
        self.register_buffer("multiplier", torch.tensor(float(alpha)))
        del self.alpha  # λ is what counts from here on: a knob that turned alpha would turn nothing

    def forget_term(self, forget: View) -> Tensor:
        """Return the mean over predicted tokens; the logits at t − 1 predict token t."""
        assert forget.policy.logits is not None
        logits = full(forget.policy.logits[:, :-1])
        flatness = (logits.amax(-1) - logits.mean(-1)) ** 2
        return forget.prediction_mean(F.pad(flatness, (1, 0)))

    def retain_weight(self) -> Tensor:
        """Return the present λ."""
        return self.multiplier

    def after_step(self, terms: Mapping[str, float]) -> None:
        """Take the dual ascent step on the global batch's retain loss."""
        self.done += 1
        if self.done > self.dual_warmup:
            self.multiplier.add_(self.dual_step * (terms["retain"] - self.bound)).clamp_(min=0)
