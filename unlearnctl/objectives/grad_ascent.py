"""Gradient ascent on the forget text (Jang et al. 2023, arXiv 2210.01504)."""

from __future__ import annotations

from unlearnctl.objectives.base import Loss, Needs, Objective, View


class GradAscent(Objective):
    """`⟨log π_θ(x_f)⟩` per token, minimised. Unbounded below: it diverges unless stopped."""

    def needs(self) -> dict[str, Needs]:
        """Read token log-probabilities of the forget side; the retain side does not run."""
        return {"forget": Needs(logprobs=True)}

    def forward(self, forget: View) -> Loss:
        """Return nats per token."""
        ascent = forget.prediction_mean(forget.logprobs)
        return Loss(ascent, {"forget": ascent}, ascent)
