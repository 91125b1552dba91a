"""RMU: representation misdirection for unlearning (Li et al. 2024, arXiv 2403.03218, equations 1-3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Generator, Tensor

from unlearnctl.objectives.base import Architecture, Layer, Loss, Needs, Objective, View, indices, mlp_outputs
from unlearnctl.objectives.retain_noise import RetainNoise
from unlearnctl.objectives.token_norms import SinkFactor, TokenNorms
from unlearnctl.ops.precision import full
from unlearnctl.ops.vectors import mean_square, unit_uniform

Reduction = Literal["masked", "sequence", "all"]


class RMU(Objective):
    """`⟨‖h_l(x_f;θ) − c·u‖²⟩/D + α ⟨‖h_l(x_r;θ) − h_l(x_r;θ0)‖²⟩/D`, u a random unit vector per forget topic.

    Args:
        layer: block l whose output is steered, as an index or a share of the depth; blocks l−2, l−1, l train their MLP
            output matrices.
        steering_coeff: c, in units of the residual stream at that layer, or multiples of its norm (see `relative`).
        alpha: weight of the retain term.
        reduction: `masked` averages over real tokens; `sequence` over those of each sequence, then over sequences,
            as OpenUnlearning does; `all` over padding as well, as the paper's code does (exact for an undivided batch).
        relative: c counts in multiples of the layer's median token norm instead of absolute units (our addition: 6.5 is
            half a norm on one model and a hundredth on another); `mean` takes the mean over the topic's first batch.
        retain_noise: see `RetainNoise`.
        sink_factor: see `TokenNorms`; the authors count every token.
    """

    control_vector: Tensor
    scale: Tensor

    def __init__(
        self,
        layer: Layer,
        steering_coeff: PositiveFloat,
        alpha: NonNegativeFloat,
        reduction: Reduction = "masked",
        relative: bool | Literal["mean"] = False,
        retain_noise: NonNegativeFloat = 0.0,
        sink_factor: SinkFactor = None,
    ) -> None:
        super().__init__()
        (self.layer,) = indices(layer)
        self.steering_coeff, self.alpha = steering_coeff, alpha
        self.reduction, self.relative = reduction, relative
        self.noise = RetainNoise(retain_noise)
        self.norms = TokenNorms((self.layer,), sink_factor, scaled=relative is True)

    def needs(self) -> dict[str, Needs]:
        """Read the residual stream after one block; for the retain side also the reference's."""
        layers, padding = (self.layer,), self.reduction == "all"
        return {
            "forget": Needs(layers=layers, reference=self.relative == "mean", padding=padding),
            "retain": Needs(layers=layers, reference=True, padding=padding),
        }

    def trainable(self, arch: Architecture) -> list[str]:
        """Train the MLP output matrices of the steered block and the two before it."""
        return mlp_outputs(arch, (self.layer,))

    def setup(self, hidden_size: int, topics: int, generator: Generator) -> None:
        """Draw one control vector per topic; with `relative=mean` calibration sets its length."""
        self.register_buffer("control_vector", unit_uniform(topics, hidden_size, generator))
        self.register_buffer("scale", torch.full((topics,), 0.0 if self.relative == "mean" else 1.0))
        self.noise.setup(generator)

    def calibration(self) -> tuple[str, ...]:
        """Name the scale, which only a coefficient in units of a batch's mean has to calibrate."""
        return ("scale",) if self.relative == "mean" else ()

    def calibrate(self, forget: View) -> None:
        """Add this micro-batch's share of the reference's mean residual norm, the mean that the loss takes."""
        norm = full(forget.reference.hidden[self.layer]).norm(dim=-1)
        self.scale[forget.batch.topic] += self.mean(
            forget, self.norms.without_sinks(norm, forget, self.layer)
        )

    def target(self, forget: View) -> Tensor:
        """Return where forget activations are steered to: c·u, broadcastable to [B, T, D]."""
        topic = forget.batch.topic
        unit = self.norms.typical(self.layer) if self.relative is True else self.scale[topic]
        return self.steering_coeff * unit * self.control_vector[topic]

    def mean(self, view: View, values: Tensor) -> Tensor:
        """Average over tokens, over the sequences' token means, or over all positions, padding included."""
        if self.reduction == "masked":
            return view.token_mean(values)
        if self.reduction == "sequence":
            real = view.batch.mask
            return view.sequence_mean(torch.where(real, values, 0.0).sum(-1) / real.sum(-1).clamp_min(1))
        return values.sum() / (view.batch.sequences * values.shape[1])

    def forward(self, forget: View, retain: View) -> Loss:
        """Evaluate the two terms of the equation."""
        missed = mean_square(forget.hidden[self.layer], self.target(forget))
        moved = mean_square(retain.hidden[self.layer], self.noise(retain, self.layer))
        steer = self.mean(forget, self.norms.without_sinks(missed, forget, self.layer))
        keep = self.mean(retain, self.norms.without_sinks(moved, retain, self.layer))
        return Loss(steer + self.alpha * keep, {"forget": steer, "retain": keep}, steer)

    def after_step(self, terms: Mapping[str, float]) -> None:
        """Draw new noise."""
        self.noise.after_step()
