"""CE-U: cross-entropy unlearning (Yang 2025, arXiv 2503.01224)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from unlearnctl.objectives.base import View
from unlearnctl.objectives.loss_level import LossLevel
from unlearnctl.ops.logprobs import shifted_targets, soft_cross_entropy
from unlearnctl.ops.precision import full


class CEU(LossLevel):
    """`⟨−Σ_v q_v log p_v⟩` per forget token, q = the policy's own distribution without the true token, plus α · retain.

    The target carries no gradient. It is bounded below, so it cannot run away as ascent does.
    The paper skips each answer's first token in training; here every predicted token counts.

    Args:
        forget_coeff, alpha, retain: see `LossLevel`.
    """

    logits = True

    def forget_term(self, forget: View) -> Tensor:
        """Return the mean over predicted tokens; the logits at t − 1 predict token t."""
        assert forget.policy.logits is not None
        logits = full(forget.policy.logits[:, :-1])
        target = logits.detach().scatter(-1, shifted_targets(forget.batch.labels), float("-inf"))
        return forget.prediction_mean(F.pad(soft_cross_entropy(logits, target.softmax(-1)), (1, 0)))
