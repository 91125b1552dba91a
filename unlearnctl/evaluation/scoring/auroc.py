"""Area under the ROC curve with a bootstrap error over texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def auroc(
    truth: Sequence[Sequence[bool]], scores: Sequence[Sequence[float]], resamples: int = 200
) -> dict[str, Any]:
    """Return the probability that a true token outscores another, over the tokens of all texts (ties count half).

    The standard error is a bootstrap over whole texts, since tokens of one text are not independent.

    Args:
        truth, scores: by text and token; both true and other tokens must occur.

    Returns:
        value, stderr, n (tokens), texts, chance.
    """
    from sklearn.metrics import roc_auc_score

    y = [np.asarray(row, dtype=bool) for row in truth]
    s = [np.asarray(row, dtype=float) for row in scores]
    rng, drawn = np.random.default_rng(0), []
    for _ in range(resamples):
        picked = rng.integers(len(y), size=len(y))
        labels = np.concatenate([y[i] for i in picked])
        if labels.any() and not labels.all():
            drawn.append(roc_auc_score(labels, np.concatenate([s[i] for i in picked])))
    value = roc_auc_score(np.concatenate(y), np.concatenate(s))
    error = float(np.std(drawn, ddof=1)) if len(drawn) > 1 else None
    return {"value": float(value), "stderr": error, "n": sum(map(len, y)), "texts": len(y), "chance": 0.5}
