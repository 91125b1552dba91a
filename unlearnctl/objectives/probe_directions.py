"""Probe directions: move forget text off what linear probes read, layer by layer (arXiv 2605.26454; our reading).

The abstract names "a multi-layer objective based on layer-specific probe directions"; the three losses, the layer
weights and the retain terms are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat
from torch import Tensor

from unlearnctl.objectives.base import (
    Architecture,
    Blocks,
    Loss,
    Needs,
    Objective,
    View,
    indices,
    mlp_outputs,
)
from unlearnctl.objectives.token_norms import SinkFactor, TokenNorms
from unlearnctl.ops.logprobs import kl_divergence
from unlearnctl.ops.precision import full
from unlearnctl.ops.vectors import mean_square


class ProbeDirections(Objective):
    """`Σ_l ω_l ⟨loss(h_l·ŵ_l)⟩ + α Σ_l ⟨‖h_l(x_r;θ) − h_l(x_r;θ0)‖²/‖h_l(x_r;θ0)‖²⟩/L + κ ⟨KL(π_θ0 ‖ π_θ)⟩_r`.

    With s = (h·ŵ − μ)/σ, μ and σ the negative texts' mean and deviation along ŵ, and b the probe's threshold on
    the same scale: `project` s² · `hinge` relu(s − b + margin) · `push` s.

    Args:
        layers: blocks whose output is read, as indices or shares of the depth.
        loss: one of the three above; project removes what lies along the direction, push has no floor.
        margin: of the hinge, in σ.
        weighting: `accuracy`: ω_l in proportion to held-out accuracy above the control's; or `uniform`.
        alpha: weight of the activations' retain term.
        kl: κ; above 0 the whole depth runs.
        probe: folder of `unlearnctl probe`; None fits probes on the run's own forget and retain texts.
        forget_coeff: weight of the probe loss; 0 is the control that any effect has to be compared with.
        sink_factor: see `TokenNorms`.
    """

    direction: Tensor
    threshold: Tensor
    neutral_mean: Tensor
    neutral_scale: Tensor
    weight: Tensor

    def __init__(
        self,
        layers: Blocks,
        loss: Literal["project", "hinge", "push"],
        margin: NonNegativeFloat,
        weighting: Literal["accuracy", "uniform"],
        alpha: NonNegativeFloat,
        kl: NonNegativeFloat,
        probe: str | None = None,
        forget_coeff: NonNegativeFloat = 1.0,
        sink_factor: SinkFactor = None,
    ) -> None:
        super().__init__()
        self.layers, self.loss, self.margin, self.weighting = indices(layers), loss, margin, weighting
        self.alpha, self.kl, self.probe, self.forget_coeff = alpha, kl, probe, forget_coeff
        self.norms = TokenNorms(self.layers, sink_factor)

    def needs(self) -> dict[str, Needs]:
        """Read the residual stream after the layers; on the retain side also the reference's, and its logits for KL."""
        return {
            "forget": Needs(layers=self.layers),
            "retain": Needs(layers=self.layers, logits=self.kl > 0, reference=True),
        }

    def trainable(self, arch: Architecture) -> list[str]:
        """Train the MLP output matrices of each layer and the two before it, as in RMU."""
        return mlp_outputs(arch, self.layers)

    def probe_folder(self) -> str | None:
        """Return the folder that the config names."""
        return self.probe

    def probe_layers(self) -> tuple[int, ...]:
        """Return every layer: each needs its direction."""
        return self.layers

    def take_probes(self, probes: Mapping[str, Tensor]) -> None:
        """Keep directions and scales as buffers; weights sum to 1."""
        for name in ("direction", "threshold", "neutral_mean", "neutral_scale"):
            self.register_buffer(name, probes[name].clone())
        above = (probes["accuracy"] - probes["control"]).clamp_min(1e-3)
        weight = above if self.weighting == "accuracy" else torch.ones_like(above)
        self.register_buffer("weight", weight / weight.sum())

    def forget_term(self, forget: View, place: int) -> Tensor:
        """Evaluate the chosen loss at one layer."""
        along = full(forget.hidden[self.layers[place]]) @ self.direction[place]
        mean, scale = self.neutral_mean[place], self.neutral_scale[place]
        s = (along - mean) / scale
        b = (self.threshold[place] - mean) / scale
        values = {"project": s**2, "hinge": F.relu(s - b + self.margin), "push": s}[self.loss]
        return forget.token_mean(self.norms.without_sinks(values, forget, self.layers[place]))

    def forward(self, forget: View, retain: View) -> Loss:
        """Evaluate the equation above."""
        erase = keep = torch.zeros((), device=self.weight.device)
        for place, layer in enumerate(self.layers):
            erase = erase + self.weight[place] * self.forget_term(forget, place)
            h, h0 = retain.hidden[layer], full(retain.reference.hidden[layer])
            moved = mean_square(h, h0) / h0.square().mean(-1).clamp_min(1e-12)
            moved = self.norms.without_sinks(moved, retain, layer)
            keep = keep + retain.token_mean(moved) / len(self.layers)
        terms = {"forget": erase, "retain": keep}
        total = self.forget_coeff * erase + self.alpha * keep
        if self.kl > 0:
            assert retain.policy.logits is not None
            assert retain.reference.logits is not None
            kl = kl_divergence(retain.policy.logits[:, :-1], retain.reference.logits[:, :-1])
            terms["kl"] = retain.prediction_mean(F.pad(kl, (1, 0)))
            total = total + self.kl * terms["kl"]
        return Loss(total, terms, self.forget_coeff * erase)
