"""Adaptive RMU (Dang et al., AAAI 2025, arXiv 2408.06223): the coefficient follows the residual norm."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from unlearnctl.objectives.base import Layer, Needs, View
from unlearnctl.objectives.rmu import RMU, Reduction
from unlearnctl.objectives.token_norms import SinkFactor
from unlearnctl.ops.precision import full


class RMUAdaptive(RMU):
    """RMU with `c = s·‖h_l(x_f;θ0)‖`: per token, or a mean fixed at each topic's first batch.

    Args:
        scale_factor: s; the authors' code has 5.
        granularity: `per_topic` fixes one coefficient on the topic's first global batch, as the authors' code
            does (which takes it from the model in training: for a second topic, after one step on the first);
            `per_token` takes each token's own norm.
        reduction: as in RMU; with `all` the mean of the norms takes in padding too, as in the authors' code.
        layer, alpha, retain_noise, sink_factor: as in RMU.
    """

    def __init__(
        self,
        layer: Layer,
        scale_factor: PositiveFloat,
        alpha: NonNegativeFloat,
        granularity: Literal["per_topic", "per_token"],
        reduction: Reduction = "masked",
        retain_noise: NonNegativeFloat = 0.0,
        sink_factor: SinkFactor = None,
    ) -> None:
        relative: Literal[False, "mean"] = "mean" if granularity == "per_topic" else False
        super().__init__(layer, scale_factor, alpha, reduction, relative, retain_noise, sink_factor)
        self.granularity = granularity

    def needs(self) -> dict[str, Needs]:
        """Read what RMU reads, and the reference's forget activations, whose norm sets the coefficient."""
        both = Needs(layers=(self.layer,), reference=True, padding=self.reduction == "all")
        return {"forget": both, "retain": both}

    def target(self, forget: View) -> Tensor:
        """Return `s·‖h_l(x_f;θ0)‖·u`."""
        if self.granularity == "per_topic":
            return super().target(forget)
        norm = full(forget.reference.hidden[self.layer]).norm(dim=-1, keepdim=True)
        return self.steering_coeff * norm * self.control_vector[forget.batch.topic]
