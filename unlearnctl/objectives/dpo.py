"""DPO as an unlearning method (Rafailov et al. 2023, arXiv 2305.18290; for unlearning as in arXiv 2404.05868)."""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from unlearnctl.objectives.base import Loss, Needs, RetainTerm, View
from unlearnctl.objectives.loss_level import LossLevel


class DPO(LossLevel):
    """`−(2/β) ⟨log σ(β (r(x_a) − r(x_f)))⟩ + α · retain`, r(x) = log π_θ(x) − log π_θ0(x), summed over the sequence.

    x_a is what should be said instead of x_f: `data.forget.alternate_field`. Without the first term it is NPO.

    Args:
        beta: β; 0.1 in the papers.
        forget_coeff, alpha, retain: see `LossLevel`.
    """

    reference = True
    instead = "alternate"  # the side of the data that is preferred

    def __init__(
        self,
        beta: PositiveFloat,
        forget_coeff: PositiveFloat,
        alpha: NonNegativeFloat,
        retain: RetainTerm,
    ) -> None:
        super().__init__(forget_coeff, alpha, retain)
        self.beta = beta

    def needs(self) -> dict[str, Needs]:
        """Read token log-probabilities of both texts, in both models."""
        return {**super().needs(), self.instead: Needs(logprobs=True, reference=True)}

    def preference(self, forget: View, instead: View) -> Tensor:
        """Return the mean over pairs."""
        margin = _log_ratio(instead) - _log_ratio(forget)
        return forget.sequence_mean(-2 / self.beta * F.logsigmoid(self.beta * margin))

    def forward(self, forget: View, retain: View, **instead: View) -> Loss:
        """Evaluate the equation above."""
        erase, keep = self.preference(forget, instead[self.instead]), self.retain(retain)
        forgets = self.forget_coeff * erase
        return Loss(forgets + self.alpha * keep, {"forget": erase, "retain": keep}, forgets)


def _log_ratio(view: View) -> Tensor:
    assert view.reference.logprobs is not None
    return (view.logprobs - view.reference.logprobs).sum(-1)
