"""Learn a stochastic policy over trade-off knobs by REINFORCE (Williams 1992)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, Normal


@dataclass(frozen=True)
class Action:
    """Holds one setting of the knobs, and which of the layer choices is read (None: the objective's own)."""

    knobs: dict[str, float]
    choice: int | None = None
    drawn: dict[str, float] = field(default_factory=dict)  # what the normals gave, before the bounds

    def record(self) -> dict[str, Any]:
        """Return the entries for a row of metrics.jsonl."""
        return {"knobs": self.knobs, "choice": self.choice}


class Policy:
    """Draws from independent normals over the logarithms of the knobs, and a categorical over layer choices.

    A knob is `start · exp(z · log(factor))` with z ~ N(mean, spread²), kept within [start / factor, start · factor].
    The update ascends `⟨(reward − baseline) · log π(action)⟩ + entropy · H(π)` by natural gradient steps (the
    normals' Fisher information divided out, so that a small spread does not blow the steps up); the baseline is a
    moving average of the rewards, as a control variate. Not by Adam: dividing by its moments would turn the entropy
    bonus into full steps whenever nothing is rewarded.

    Args:
        starts: knob → value in the config, where the search is centred.
        factor: how far a knob may go either way, above 1.
        choices: number of layer choices; 0 = the layer is not learned.
        lr: of the steps on means, log spreads and choices.
        spread: first standard deviation of z.
        entropy: weight of the bonus that keeps the policy from settling too soon.
        decay: of the baseline, 0 = the last reward.
        seed: of the draws.
    """

    def __init__(
        self,
        starts: Mapping[str, float],
        factor: float,
        choices: int,
        lr: float,
        spread: float,
        entropy: float,
        decay: float,
        seed: int,
    ) -> None:
        self.starts, self.factor = dict(starts), factor
        self.mean = torch.zeros(len(starts), requires_grad=True)
        self.log_spread = torch.full((len(starts),), math.log(spread), requires_grad=True)
        self.logits = torch.zeros(choices, requires_grad=True)
        self.optimizer = torch.optim.SGD(self.parameters(), lr=lr)
        self.entropy, self.decay = entropy, decay
        self.baseline: float | None = None
        self.generator = torch.Generator().manual_seed(seed)

    def sample(self) -> Action:
        """Draw an action; the global random state does not change."""
        noise = torch.randn(len(self.starts), generator=self.generator)
        choice = None
        if len(self.logits):
            choice = int(torch.multinomial(self.logits.detach().softmax(0), 1, generator=self.generator))
        return self._action((self.mean + self.log_spread.exp() * noise).tolist(), choice)

    def evenly(self) -> Action:
        """Draw an action evenly from the whole range, whatever was learned: random search."""
        z = 2 * torch.rand(len(self.starts), generator=self.generator) - 1
        count = len(self.logits)
        choice = int(torch.randint(count, (), generator=self.generator)) if count else None
        return self._action(z.tolist(), choice)

    def centre(self) -> Action:
        """Return the most likely action; before any update, the config's own values."""
        choice = int(self.logits.argmax()) if len(self.logits) else None
        return self._action(self.mean.tolist(), choice)

    def _action(self, drawn: Sequence[float], choice: int | None) -> Action:
        z = dict(zip(self.starts, drawn, strict=True))
        knobs = {k: self.starts[k] * self.factor ** min(1.0, max(-1.0, v)) for k, v in z.items()}
        return Action(knobs, choice, z)

    def log_prob(self, action: Action) -> Tensor:
        """Return log π(action), differentiable in the policy's parameters."""
        # The density of the draw, before the knob is kept within its bounds: those are no part of the policy.
        z = torch.tensor([action.drawn[name] for name in self.starts])
        total = Normal(self.mean, self.log_spread.exp()).log_prob(z).sum()
        if action.choice is not None:
            total = total + Categorical(logits=self.logits).log_prob(torch.tensor(action.choice))
        return total

    def update(self, actions: Sequence[Action], rewards: Sequence[float]) -> None:
        """Take one REINFORCE step."""
        mean = sum(rewards) / len(rewards)
        # The first group is its own baseline: against 0, nearly every action of it would look good.
        baseline = mean if self.baseline is None else self.baseline
        gain = torch.zeros(())
        for action, reward in zip(actions, rewards, strict=True):
            gain = gain + (reward - baseline) * self.log_prob(action)
        gain = gain / len(rewards)
        bonus = Normal(self.mean, self.log_spread.exp()).entropy().sum()
        if len(self.logits):
            bonus = bonus + Categorical(logits=self.logits).entropy()
        self.optimizer.zero_grad()
        (-gain - self.entropy * bonus).backward()
        if len(self.starts):
            # The Fisher information of N(μ, σ²) is 1/σ² for μ and 2 for log σ; dividing by it is the natural gradient.
            self.mean.grad.mul_(self.log_spread.detach().exp() ** 2)  # type: ignore[union-attr]
            self.log_spread.grad.div_(2)  # type: ignore[union-attr]
        self.optimizer.step()
        self.baseline = self.decay * baseline + (1 - self.decay) * mean

    def state(self) -> dict[str, Any]:
        """Return all that later draws and updates depend on; plain gradient steps have no state of their own."""
        return {
            "parameters": [p.detach() for p in self.parameters()],
            "baseline": self.baseline,
            "generator": self.generator.get_state(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Put a state back."""
        with torch.no_grad():
            for parameter, value in zip(self.parameters(), state["parameters"], strict=True):
                parameter.copy_(value)
        self.baseline = state["baseline"]
        self.generator.set_state(state["generator"])

    def parameters(self) -> list[Tensor]:
        """Return what is learned."""
        return [self.mean, self.log_spread, self.logits]

    def record(self) -> dict[str, Any]:
        """Describe the policy: the centre of each knob, its spread, the choices' probabilities."""
        spreads = dict(zip(self.starts, self.log_spread.exp().tolist(), strict=True))
        return {
            "centre": self.centre().knobs,
            "spread": spreads,
            "baseline": self.baseline,
            "choices": self.logits.softmax(0).tolist(),
        }
