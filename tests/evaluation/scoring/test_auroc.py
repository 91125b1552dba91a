"""AUROC by hand and by scikit-learn; its error shrinks with the number of texts."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from unlearnctl.evaluation.scoring.auroc import auroc


def test_by_hand() -> None:
    """Pairs (true, other): 3 > 1, 3 > 2, 2 > 1 and the tie 2 = 2: (3 + ½)/4."""
    found = auroc([[True, False], [True, False]], [[3.0, 1.0], [2.0, 2.0]])
    assert found["value"] == pytest.approx(3.5 / 4)
    assert (found["n"], found["texts"], found["chance"]) == (4, 2, 0.5)


def test_uniform_scores_are_chance() -> None:
    assert auroc([[True, False, False]] * 5, [[1.0] * 3] * 5)["value"] == 0.5


def test_against_scikit_learn_and_with_an_honest_error() -> None:
    rng = np.random.default_rng(1)
    errors = []
    for texts in (40, 640):
        truth = [[bool(x) for x in rng.random(10) < 0.3] for _ in range(texts)]
        scores = [[float(t) + rng.normal() for t in row] for row in truth]
        found = auroc(truth, scores)
        flat = roc_auc_score([t for row in truth for t in row], [s for row in scores for s in row])
        assert found["value"] == pytest.approx(flat)
        errors.append(found["stderr"])
    assert errors[1] == pytest.approx(errors[0] / 4, rel=0.4)
