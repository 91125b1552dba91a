"""Remove the part of an update that acts on retained text: SAGE (arXiv 2606.18309; equations are our reading)."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Gt, Le
from jaxtyping import Float
from torch import Tensor

from unlearnctl.repair.spectrum import Spectrum


class SAGE:
    """`Δ' = Δ (I − U diag(μλ/(1 + μλ)) Uᵀ)`: it minimises `‖Δ' − Δ‖²_F + μ tr(Δ'CΔ'ᵀ)` over the kept directions.

    If all directions are kept, this is `Δ (I + μC)⁻¹`. Strength s is relative (μ = s / mean(λ)), so that one value
    means the same for every module: s = 1 halves the update along an average direction.

    Args:
        energy: share of the retained text's second moment whose dominant eigenvectors are kept; 1 keeps all.
    """

    def __init__(self, energy: Annotated[float, Gt(0), Le(1)] = 1.0) -> None:
        self.energy = energy

    def __call__(
        self, update: Float[Tensor, "O I"], spectrum: Spectrum, strength: float
    ) -> Float[Tensor, "O I"]:
        """Return the repaired update, in float64."""
        update = update.double()
        weakest_first = spectrum.values.cumsum(0)
        kept = weakest_first > (1 - self.energy) * weakest_first[-1]
        scaled = strength * spectrum.values / spectrum.values.mean().clamp_min(1e-300) * kept
        shrink = scaled / (1 + scaled)
        return update - (update @ spectrum.vectors * shrink) @ spectrum.vectors.T
