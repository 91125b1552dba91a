"""How well a linear rule tells two groups of texts apart, judged on texts that it has not seen."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

RIDGE = 0.1  # on states of unit mean square


def separability(states: Float[Tensor, "N L D"], positive: Bool[Tensor, " N"]) -> Float[Tensor, " L"]:
    """Return, for each layer, the share of texts that ridge regression puts on their side, each left out in turn.

    With C = (K + λI)⁻¹ for the Gram matrix K of the standardised states, the prediction for a text that was left out is
    y_i − (Cy)_i / C_ii, so that N fits cost one inverse (Allen 1974's PRESS). Guessing gives the larger group's share.

    Args:
        states: one pooled state per text and layer.
        positive: which group each text is of.
    """
    sides = torch.where(positive, 1.0, -1.0).double()
    # Standardised over all texts: that uses no labels, so what is left out stays unknown to the rule.
    scaled = (states.double() - states.double().mean(0)) / (states.double().std(0) + 1e-6)
    found = []
    for layer in scaled.unbind(1):
        gram = layer @ layer.T / layer.shape[1] + 1.0  # + 1: a constant input
        inverse = torch.linalg.inv(gram + RIDGE * torch.eye(len(gram), dtype=gram.dtype))
        left_out = sides - inverse @ sides / inverse.diagonal()
        found.append(((left_out > 0) == positive).double().mean())
    return torch.stack(found).float()
