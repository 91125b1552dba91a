"""Gradient difference (Liu et al. 2022, arXiv 2203.12817; as in TOFU, arXiv 2401.06121)."""

from __future__ import annotations

from torch import Tensor

from unlearnctl.objectives.base import View
from unlearnctl.objectives.loss_level import LossLevel


class GradDiff(LossLevel):
    """`γ ⟨w_t log π_θ(x_f)⟩ + α · retain`, minimised: ascent on the forget text, descent on the retain text."""

    def forget_term(self, forget: View) -> Tensor:
        """Return nats per token."""
        return forget.prediction_mean(self.weighted(forget, forget.logprobs))
