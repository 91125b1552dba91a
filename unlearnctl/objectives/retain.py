"""Retain terms: what holds the rest of the model in place. Each plugs into any loss-level objective."""

from __future__ import annotations

import torch
from torch import Tensor

from unlearnctl.objectives.base import Blocks, Needs, RetainTerm, View, indices
from unlearnctl.objectives.token_norms import SinkFactor, TokenNorms
from unlearnctl.ops.logprobs import kl_divergence
from unlearnctl.ops.vectors import mean_square


class NLL(RetainTerm):
    """`−⟨log π_θ(x_r)⟩` per token: keep modelling the retain text (the "GD" of TOFU, arXiv 2401.06121)."""

    def needs(self) -> Needs:
        """Read token log-probabilities."""
        return Needs(logprobs=True)

    def forward(self, retain: View) -> Tensor:
        """Return nats per token."""
        return -retain.prediction_mean(retain.logprobs)


class KL(RetainTerm):
    """`⟨KL(π_θ0 ‖ π_θ)⟩` per token: keep the original model's predictions (TOFU, arXiv 2401.06121)."""

    def needs(self) -> Needs:
        """Read full logits of both models."""
        return Needs(logits=True, reference=True)

    def forward(self, retain: View) -> Tensor:
        """Return nats per token; the logits at t − 1 predict token t."""
        assert retain.policy.logits is not None
        assert retain.reference.logits is not None
        kl = kl_divergence(retain.policy.logits[:, :-1], retain.reference.logits[:, :-1])
        return retain.prediction_mean(torch.nn.functional.pad(kl, (1, 0)))


class EmbedDiff(RetainTerm):
    """`⟨‖h_l(x_r;θ) − h_l(x_r;θ0)‖²⟩/D`, mean over layers: RMU's retain term for any objective.

    Args:
        layers: blocks, as indices or shares of the depth.
        sink_factor: see `TokenNorms`.
    """

    def __init__(self, layers: Blocks, sink_factor: SinkFactor = None) -> None:
        super().__init__()
        self.layers = indices(layers)
        self.norms = TokenNorms(self.layers, sink_factor)

    def needs(self) -> Needs:
        """Read the residual stream of both models."""
        return Needs(layers=self.layers, reference=True)

    def forward(self, retain: View) -> Tensor:
        """Return the mean squared change of the activations."""
        per_layer = []
        for layer in self.layers:
            moved = mean_square(retain.hidden[layer], retain.reference.hidden[layer])
            per_layer.append(retain.token_mean(self.norms.without_sinks(moved, retain, layer)))
        return torch.stack(per_layer).mean()
