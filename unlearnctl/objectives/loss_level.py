"""What the loss-level objectives share: `γ·forget + α·retain` over token log-probabilities."""

from __future__ import annotations

from torch import Tensor

from unlearnctl.objectives.base import Loss, Needs, Objective, RetainTerm, View, require


class LossLevel(Objective):
    """`forget_coeff · forget_term + alpha · retain`; subclasses state the forget term.

    Args:
        forget_coeff: weight of the forget term.
        alpha: weight of the retain term.
        retain: a retain term (see `unlearnctl.objectives.retain`).
    """

    reference = False  # whether the forget term compares with the original model
    logits = False  # whether it reads whole logits instead of the labels' log-probabilities

    def __init__(self, forget_coeff: float, alpha: float, retain: RetainTerm) -> None:
        super().__init__()
        require(forget_coeff > 0, "forget_coeff", forget_coeff, "positive")
        require(alpha >= 0, "alpha", alpha, "0 or more")
        self.forget_coeff, self.alpha, self.retain = forget_coeff, alpha, retain

    def needs(self) -> dict[str, Needs]:
        """Token log-probabilities or logits of the forget side, and whatever the retain term reads."""
        return {
            "forget": Needs(logits=self.logits, logprobs=not self.logits, reference=self.reference),
            "retain": self.retain.needs(),
        }

    def forget_term(self, forget: View) -> Tensor:
        """The method's own equation, as this micro-batch's share of the global mean."""
        raise NotImplementedError

    def retain_weight(self) -> float | Tensor:
        """What the retain term counts."""
        return self.alpha

    def forward(self, forget: View, retain: View | None) -> Loss:
        """The weighted sum."""
        assert retain is not None
        erase, keep = self.forget_term(forget), self.retain(retain)
        return Loss(
            self.forget_coeff * erase + self.retain_weight() * keep, {"forget": erase, "retain": keep}
        )
