"""Cosine RMU: steer directions, not lengths (arXiv 2605.26454; our reading, only the abstract is known).

The abstract says "a cosine-based ... variant of RMU"; the choice of targets, several layers and the norm
anchor are ours. Being scale-free, it has no steering coefficient to tune to the residual norm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Lt
from pydantic import NonNegativeFloat
from torch import Generator, Tensor

from unlearnctl.objectives.base import (
    Architecture,
    Blocks,
    Layer,
    Loss,
    Needs,
    Objective,
    View,
    indices,
    mlp_outputs,
)
from unlearnctl.objectives.retain_noise import RetainNoise
from unlearnctl.objectives.token_norms import SinkFactor, TokenNorms
from unlearnctl.ops.precision import full
from unlearnctl.ops.vectors import cosine, norm_ratio, unit_uniform
from unlearnctl.utils.errors import UserError

Target = Literal["random", "away", "opposite", "orthogonal"]


class RMUCosine(Objective):
    """Mean over layers of `forget + α ⟨1 − cos(h(x_r;θ), h(x_r;θ0))⟩ + ν ⟨(‖h(x_r;θ)‖/‖h(x_r;θ0)‖ − 1)²⟩`.

    The forget term, with h = h_l(x_f;θ), h0 = h_l(x_f;θ0), u a random unit vector per topic and
    h0' = h0 + tilt·‖h0‖·u:
    `random` ⟨1 − cos(h, u)⟩ · `away` ⟨relu(cos(h, h0') − floor)⟩ · `opposite` ⟨1 + cos(h, h0')⟩ ·
    `orthogonal` ⟨cos²(h, h0')⟩.

    Args:
        layer: one block or several, as indices or shares of the depth.
        target: one of the four above.
        alpha: weight of the retain cosine.
        norm_anchor: ν; cosine alone leaves the residual norm free to drift.
        tilt: at θ = θ0 the last three targets are stationary (cos = 1), so that without a tilt rounding alone
            would choose where the first steps go, differently for every batch split, device and dtype.
        floor: cosine at which `away` leaves a token alone, because what a run turns further than it must is paid by
            every text on the subject (docs/real-models.md).
        retain_noise: see `RetainNoise`.
        sink_factor: see `TokenNorms`.
    """

    control_vector: Tensor

    def __init__(
        self,
        layer: Layer | Blocks,
        target: Target,
        alpha: NonNegativeFloat,
        norm_anchor: NonNegativeFloat,
        tilt: NonNegativeFloat = 0.1,
        floor: Annotated[float, Ge(0), Lt(1)] = 0.0,
        retain_noise: NonNegativeFloat = 0.0,
        sink_factor: SinkFactor = None,
    ) -> None:
        super().__init__()
        self.layers = self.active = indices(layer)
        self.target, self.alpha, self.norm_anchor, self.tilt = target, alpha, norm_anchor, tilt
        self.floor = floor
        self.noise = RetainNoise(retain_noise)
        self.norms = TokenNorms(self.layers, sink_factor)

    def needs(self) -> dict[str, Needs]:
        """Read the residual stream after the layers; a random target needs no reference on the forget side."""
        return {
            "forget": Needs(layers=self.layers, reference=self.target != "random"),
            "retain": Needs(layers=self.layers, reference=True),
        }

    def trainable(self, arch: Architecture) -> list[str]:
        """Train the MLP output matrices of each steered block and the two before it, as in RMU."""
        return mlp_outputs(arch, self.layers)

    def read_at(self, layers: Sequence[int]) -> None:
        """Steer these of the declared layers only."""
        if not layers or not set(layers) <= set(self.layers):
            raise UserError(f"objective.layer={list(layers)}: must be among {list(self.layers)}")
        self.active = tuple(layers)

    def setup(self, hidden_size: int, topics: int, generator: Generator) -> None:
        """Draw one control vector per topic."""
        self.register_buffer("control_vector", unit_uniform(topics, hidden_size, generator))
        self.noise.setup(generator)

    def forget_term(self, forget: View, layer: int) -> Tensor:
        """Return the chosen target's loss, averaged over tokens."""
        h = forget.hidden[layer]
        u = self.control_vector[forget.batch.topic]
        if self.target == "random":
            values = 1 - cosine(h, u)
        else:
            h0 = full(forget.reference.hidden[layer])
            cos = cosine(h, h0 + self.tilt * h0.norm(dim=-1, keepdim=True) * u)
            values = {"away": (cos - self.floor).relu(), "opposite": 1 + cos, "orthogonal": cos**2}[
                self.target
            ]
        return forget.token_mean(self.norms.without_sinks(values, forget, layer))

    def forward(self, forget: View, retain: View) -> Loss:
        """Evaluate the equation above."""
        steer = keep = anchor = torch.zeros((), device=self.control_vector.device)
        for layer in self.active:
            h, h0 = retain.hidden[layer], self.noise(retain, layer)
            steer = steer + self.forget_term(forget, layer) / len(self.active)
            turned = self.norms.without_sinks(1 - cosine(h, h0), retain, layer)
            stretched = self.norms.without_sinks((norm_ratio(h, h0) - 1) ** 2, retain, layer)
            keep = keep + retain.token_mean(turned) / len(self.active)
            anchor = anchor + retain.token_mean(stretched) / len(self.active)
        total = steer + self.alpha * keep + self.norm_anchor * anchor
        return Loss(total, {"forget": steer, "retain": keep, "norm": anchor}, steer)

    def after_step(self, terms: Mapping[str, float]) -> None:
        """Draw new noise."""
        self.noise.after_step()
