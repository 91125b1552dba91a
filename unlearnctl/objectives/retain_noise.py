"""RNA: random noise on the reference's retain activations, for any representation objective (arXiv 2501.19202)."""

from __future__ import annotations

import hashlib

import torch
from pydantic import NonNegativeFloat
from torch import Generator, Tensor, nn

from unlearnctl.objectives.base import View


class RetainNoise(nn.Module):
    """`h_l(x_r;θ0) + N(0, scale²)`, drawn again each step.

    A retained text that resembles the forgotten ones a little then still leads where it should.

    Each row's noise depends on the seed, the row and the step alone, not on padding, batch split or process.

    Args:
        scale: standard deviation of each coordinate, in units of the activations; 0 = none.
    """

    def __init__(self, scale: NonNegativeFloat) -> None:
        super().__init__()
        self.scale, self.seed, self.step = scale, 0, 0

    def setup(self, generator: Generator) -> None:
        """Draw this run's seed, if there is any noise."""
        if self.scale:
            self.seed = int(torch.randint(2**62, (), generator=generator))

    def forward(self, retain: View, layer: int) -> Tensor:
        """Return the reference's activations after a block, [B, T, D], with noise added at real tokens."""
        hidden = retain.reference.hidden[layer]
        if not self.scale:
            return hidden
        noise = torch.zeros_like(hidden)
        for row, (key, real) in enumerate(
            zip(retain.batch.keys, retain.batch.attention_mask.bool(), strict=True)
        ):
            digest = hashlib.sha256(f"{self.seed}/{self.step}/{layer}/{key}".encode()).digest()
            generator = Generator(hidden.device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)
            shape = (int(real.sum()), hidden.shape[-1])
            noise[row, real] = torch.randn(shape, generator=generator, device=hidden.device).to(hidden.dtype)
        return hidden + self.scale * noise

    def after_step(self) -> None:
        """Use new noise from the next step on."""
        self.step += 1
