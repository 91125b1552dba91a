"""Circuit breaking by representation rerouting (Zou et al. 2024, arXiv 2406.04313, algorithm 1)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from unlearnctl.objectives.base import Architecture, Blocks, Loss, Needs, Objective, View, indices
from unlearnctl.objectives.token_norms import SinkFactor, TokenNorms
from unlearnctl.ops.precision import full
from unlearnctl.ops.vectors import cosine


class CircuitBreaking(Objective):
    """`c_f ⟨relu cos(h_l(x_f;θ), h_l(x_f;θ0))⟩ + c_r ⟨‖h_l(x_r;θ) − h_l(x_r;θ0)‖⟩`, means over layers.

    The weights trade places as training proceeds: c_f = α (1 − t/2T), c_r = α t/2T at step t of T. The authors train
    LoRA adapters (`trainer.lora`), hold the retain states of all layers over padding too, and count t from 1; here the
    states are those of `layers`, over real tokens, and the first step is t = 0.

    Args:
        layers: blocks, or shares of the depth; the authors have 9 and 19 of 32, their code's hidden states 10 and 20.
        alpha: α; the authors have 10.
        steps: T.
        sink_factor: see `TokenNorms`; the authors count every token.
    """

    def __init__(
        self, layers: Blocks, alpha: PositiveFloat, steps: PositiveInt, sink_factor: SinkFactor = None
    ) -> None:
        super().__init__()
        self.layers, self.alpha, self.steps, self.done = indices(layers), alpha, steps, 0
        self.norms = TokenNorms(self.layers, sink_factor)

    def needs(self) -> dict[str, Needs]:
        """Read the residual stream after the layers, in both models."""
        both = Needs(layers=self.layers, reference=True)
        return {"forget": both, "retain": both}

    def trainable(self, arch: Architecture) -> list[str]:
        """Train every parameter of the blocks up to the highest layer."""
        choice = "|".join(map(str, range(max(self.layers) + 1)))
        return [rf"^{arch.blocks.replace('.', chr(92) + '.')}\.({choice})\."]

    def forward(self, forget: View, retain: View) -> Loss:
        """Weight the two terms by the progress of training."""
        reroute = keep = torch.zeros((), device=forget.batch.input_ids.device)
        for layer in self.layers:
            cos = cosine(forget.hidden[layer], forget.reference.hidden[layer])
            moved: Tensor = (full(retain.hidden[layer]) - full(retain.reference.hidden[layer])).norm(dim=-1)
            turned = self.norms.without_sinks(cos.relu(), forget, layer)
            moved = self.norms.without_sinks(moved, retain, layer)
            reroute = reroute + forget.token_mean(turned) / len(self.layers)
            keep = keep + retain.token_mean(moved) / len(self.layers)
        progress = min(self.done, self.steps) / (2 * self.steps)
        forgets = self.alpha * (1 - progress) * reroute
        return Loss(forgets + self.alpha * progress * keep, {"forget": reroute, "retain": keep}, forgets)

    def after_step(self, terms: Mapping[str, float]) -> None:
        """Count the step, which moves weight from the first term to the second."""
        self.done += 1
