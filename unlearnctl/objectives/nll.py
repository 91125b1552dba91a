"""Plain finetuning on the retain side: it makes what others unlearn, or the model that never saw the forget set."""

from __future__ import annotations

from unlearnctl.objectives import retain as terms
from unlearnctl.objectives.base import Loss, Needs, Objective, View


class NLL(Objective):
    """`−⟨log π_θ(x_r)⟩` per token, minimised: TOFU's first stage (arXiv 2401.06121). The forget side does not run."""

    def __init__(self) -> None:
        super().__init__()
        self.retain = terms.NLL()

    def needs(self) -> dict[str, Needs]:
        """Read token log-probabilities of the retain side alone."""
        return {"retain": self.retain.needs()}

    def forward(self, retain: View) -> Loss:
        """Return nats per token; no part of it forgets."""
        loss = self.retain(retain)
        return Loss(loss, {"retain": loss})
