"""Which forget tokens matter: weights that plug into grad_diff, npo, simnpo and atwu.

The learned scorer is ATWU's (arXiv 2606.06320). Its loss and schedule were seen in an early version of the authors'
code; `loss=known`, `relative`, `until` and the normalised features are ours.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Gt, Lt
from jaxtyping import Float
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from unlearnctl.distributed.collectives import sum_over_processes
from unlearnctl.objectives.base import Checked, Needs, View


class TokenWeights(Checked):
    """A weight in [0, 1] for each predicted forget token, never with a gradient."""

    def needs(self) -> Needs:
        """Declare what is read of the forget side besides what the objective itself reads."""
        return Needs(logprobs=True)

    def setup(self, hidden_size: int) -> None:
        """Create whatever is learned."""

    def forward(self, forget: View) -> Float[Tensor, "B T"]:
        """Return the weights; 0 where no prediction counts."""
        raise NotImplementedError

    def observe(self, forget: View) -> None:
        """Take one micro-batch's share of what the next `after_step` learns from."""

    def after_step(self) -> None:
        """Learn, once an optimiser step."""


class Probability(TokenWeights):
    """`p_θ(x_t)^β`: WGA's weight (arXiv 2502.19301), which needs no learning.

    Args:
        beta: β; 0 weighs all tokens alike.
    """

    def __init__(self, beta: NonNegativeFloat) -> None:
        super().__init__()
        self.beta = beta

    def forward(self, forget: View) -> Float[Tensor, "B T"]:
        """Compute the weights from the policy's own probabilities."""
        weights = (self.beta * forget.logprobs.detach()).exp()
        return torch.where(forget.predicted, weights, 0.0)


class Learned(TokenWeights):
    """`g_t = σ(w·h_t + b)` on the final hidden state, from zero, by SGD on its own loss.

    Every `every` optimiser steps, on losses ℓ without gradient:
    `⟨(1 − g_t) ℓ_t⟩ + λ_ent ⟨H(g_t)⟩ + λ_pop (⟨1[g_t > ½]⟩ − b)² + λ_l2 ‖w‖²`, the indicator straight through.
    Its minimum puts weight on the tokens whose loss is high, decides (entropy), and keeps to a share b of them.

    Args:
        every: n, optimiser steps between two scorer steps; the paper has 5 to 10.
        lr, momentum, weight_decay, clip: of SGD.
        decay_steps: optimiser steps over which the rate falls linearly to 0; None = constant.
        entropy, population, share, l2: λ_ent, λ_pop, b, λ_l2. The share ⟨1[g > ½]⟩ is that of the global batch, so
            that no split of it changes the step; ‖w‖² leaves the bias out.
        shift: `own` scores a token by the state that has read it, `previous` by the state that predicts it.
        loss: `raw` ℓ_t = −log p_θ(x_t); `known` p_θ0(x_t) · max(0, log p_θ0(x_t) − log p_θ(x_t)) (ours): what the
            original model knew and this one no longer does. A token that was hard to predict all along, like the
            first of a name, is not thereby important.
        relative: divide ℓ by its mean (ours): unlearning drives it up without bound, and would outgrow λ_pop.
        normalised: divide each hidden state by its root mean square (ours).
        until: optimiser steps after which the scorer is frozen; None = never.
    """

    def __init__(
        self,
        every: PositiveInt,
        lr: PositiveFloat,
        momentum: float,
        weight_decay: float,
        clip: PositiveFloat,
        decay_steps: PositiveInt | None,
        entropy: NonNegativeFloat,
        population: NonNegativeFloat,
        share: Annotated[float, Gt(0), Lt(1)],
        l2: NonNegativeFloat,
        shift: Literal["own", "previous"],
        loss: Literal["raw", "known"],
        relative: bool = False,
        normalised: bool = False,
        until: NonNegativeInt | None = None,
    ) -> None:
        super().__init__()
        self.every, self.clip, self.decay_steps, self.until = every, clip, decay_steps, until
        self.entropy, self.population, self.share, self.l2 = entropy, population, share, l2
        self.shift, self.loss, self.relative, self.normalised = shift, loss, relative, normalised
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.steps = 0
        self._observed: dict[str, Tensor] = {}

    def needs(self) -> Needs:
        """Read the final hidden state, and the reference's log-probabilities if what was known matters."""
        return Needs(logprobs=True, final=True, reference=self.loss == "known")

    def setup(self, hidden_size: int) -> None:
        """Create the scorer at zero, so that every weight starts at ½."""
        self.scorer = nn.Linear(hidden_size, 1)
        nn.init.zeros_(self.scorer.weight)
        nn.init.zeros_(self.scorer.bias)
        self.optimizer = torch.optim.SGD(
            self.scorer.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay
        )

    def logits(self, forget: View) -> Float[Tensor, "B T"]:
        """Return w·h_t + b at every position, with the scorer's gradient."""
        assert forget.policy.final is not None
        # `where`, not a product: a NaN on padding times 0 is still NaN.
        real = forget.batch.attention_mask.bool()[..., None]
        states = torch.where(real, forget.policy.final.detach().float(), 0.0)
        z = self.scorer(F.rms_norm(states, states.shape[-1:]) if self.normalised else states)[..., 0]
        return z if self.shift == "own" else F.pad(z[:, :-1], (1, 0))

    def forward(self, forget: View) -> Float[Tensor, "B T"]:
        """Return g_t, without gradient."""
        with torch.no_grad():
            return torch.where(forget.predicted, self.logits(forget).sigmoid(), 0.0)

    def losses(self, forget: View) -> Float[Tensor, "B T"]:
        """Return ℓ_t, without gradient."""
        now = forget.logprobs.detach()
        if self.loss == "raw":
            return -now
        assert forget.reference.logprobs is not None
        before = forget.reference.logprobs
        return before.exp() * (before - now).clamp_min(0)

    @property
    def learning(self) -> bool:
        """Whether the next `after_step` is a scorer step."""
        frozen = self.until is not None and self.steps >= self.until
        return not frozen and (self.steps + 1) % self.every == 0

    def observe(self, forget: View) -> None:
        """Add this micro-batch's gradients. The population term is squared, so its factor waits for the global mean."""
        if not self.learning:
            return
        with torch.enable_grad():
            z = self.logits(forget)
            g = z.sigmoid()
            spread = g * F.softplus(-z) + (1 - g) * F.softplus(z)  # H(g), finite also where g is 0 or 1
            means = {
                "kept": forget.prediction_mean((1 - g) * self.losses(forget)),
                "entropy": forget.prediction_mean(spread),
                # Straight through: the value of the indicator, the gradient of g.
                "above": forget.prediction_mean((g > 0.5).float() + g - g.detach()),
            }
            parameters = list(self.scorer.parameters())
            # One gradient for each term: the factors of two of them are known only once all micro-batches are summed.
            for name, value in means.items():
                grads = torch.autograd.grad(value, parameters, retain_graph=True)
                self._add(name, torch.cat([grad.flatten() for grad in grads]))
        self._add("share", means["above"].detach())
        self._add("loss", forget.prediction_mean(self.losses(forget)))

    def _add(self, name: str, value: Tensor) -> None:
        self._observed[name] = self._observed[name] + value if name in self._observed else value

    def after_step(self) -> None:
        """Take a scorer step, if one is due, on the global batch's gradient."""
        learning, sums = self.learning, dict(self._observed)
        self._observed.clear()
        self.steps += 1
        if not (learning and sums):
            return
        sums = {name: sum_over_processes(value) for name, value in sums.items()}
        scale = sums["loss"].clamp_min(1e-6) if self.relative else 1.0
        gradient = (
            sums["kept"] / scale
            + self.entropy * sums["entropy"]
            + 2 * self.population * (sums["share"] - self.share) * sums["above"]
        )
        weight, bias = self.scorer.weight, self.scorer.bias
        weight.grad = gradient[:-1].view_as(weight) + 2 * self.l2 * weight.detach()
        bias.grad = gradient[-1:].view_as(bias).clone()
        nn.utils.clip_grad_norm_(self.scorer.parameters(), self.clip)
        left = 1.0 if self.decay_steps is None else max(0.0, 1 - self.steps / self.decay_steps)
        self.optimizer.param_groups[0]["lr"] = self.lr * left
        self.optimizer.step()
