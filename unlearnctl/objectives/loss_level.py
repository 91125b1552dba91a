"""What the loss-level objectives share: `γ·forget + α·retain` over token log-probabilities."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from unlearnctl.objectives.base import Loss, Needs, Objective, RetainTerm, View, union
from unlearnctl.objectives.token_weights import TokenWeights


class LossLevel(Objective):
    """`forget_coeff · forget_term + alpha · retain`; subclasses state the forget term.

    Args:
        forget_coeff: weight of the forget term.
        alpha: weight of the retain term.
        retain: a retain term (see `unlearnctl.objectives.retain`).
        token_weights: how much each forget token counts (see `unlearnctl.objectives.token_weights`); None = 1.
    """

    reference = False  # whether the forget term compares with the original model
    logits = False  # whether it reads whole logits instead of the labels' log-probabilities

    def __init__(
        self,
        forget_coeff: PositiveFloat,
        alpha: NonNegativeFloat,
        retain: RetainTerm,
        token_weights: TokenWeights | None = None,
    ) -> None:
        super().__init__()
        self.forget_coeff, self.alpha, self.retain = forget_coeff, alpha, retain
        self.token_weights = token_weights

    def needs(self) -> dict[str, Needs]:
        """Read token log-probabilities or logits of the forget side, and what the weights and the retain term read."""
        own = Needs(logits=self.logits, logprobs=not self.logits, reference=self.reference)
        forget = own if self.token_weights is None else union([own, self.token_weights.needs()])
        return {"forget": forget, "retain": self.retain.needs()}

    def setup(self, hidden_size: int, topics: int, generator: torch.Generator) -> None:
        """Create the learned weights."""
        if self.token_weights is not None:
            self.token_weights.setup(hidden_size)

    def weights_of_tokens(self) -> TokenWeights | None:
        """Return the config's token weights."""
        return self.token_weights

    def weighted(self, forget: View, values: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        """Multiply the values of predicted tokens by the tokens' weights."""
        return values if self.token_weights is None else self.token_weights(forget) * values

    def forget_term(self, forget: View) -> Tensor:
        """Evaluate the method's own equation, as this micro-batch's share of the global mean."""
        raise NotImplementedError

    def retain_weight(self) -> float | Tensor:
        """Return the weight of the retain term."""
        return self.alpha

    def forward(self, forget: View, retain: View) -> Loss:
        """Return the weighted sum."""
        erase, keep = self.forget_term(forget), self.retain(retain)
        if self.token_weights is not None and self.training:
            self.token_weights.observe(forget)
        forgets = self.forget_coeff * erase
        return Loss(forgets + self.retain_weight() * keep, {"forget": erase, "retain": keep}, forgets)

    def after_step(self, terms: Mapping[str, float]) -> None:
        """Let learned weights take their step."""
        if self.token_weights is not None:
            self.token_weights.after_step()
