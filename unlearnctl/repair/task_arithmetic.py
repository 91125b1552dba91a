"""Scale the whole update (task arithmetic, Ilharco et al. 2023, arXiv 2212.04089): the control for any repair."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from unlearnctl.repair.spectrum import Spectrum


class TaskArithmetic:
    """`Δ' = Δ / (1 + s)`: the same shrinkage in every direction, whatever the retained text."""

    def __call__(
        self, update: Float[Tensor, "O I"], spectrum: Spectrum, strength: float
    ) -> Float[Tensor, "O I"]:
        """Return the scaled update, in float64."""
        return update.double() / (1 + strength)
