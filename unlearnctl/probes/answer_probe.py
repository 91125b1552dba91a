"""One multinomial logistic probe per layer: from the state at the end of a question to its answer.

Axes: L layers, N questions, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

SHUFFLES = 3  # of the control


@dataclass(frozen=True)
class Questions:
    """The states at the end of each question, the right answers, and the choices (the answer included)."""

    states: Float[Tensor, "N L D"]
    answers: Sequence[str]
    choices: Sequence[Sequence[str]]

    @property
    def chance(self) -> float:
        """Return what guessing among the choices scores."""
        return float(np.mean([1 / len(each) for each in self.choices]))


@dataclass(frozen=True)
class Found:
    """What one layer's probe scored on the test questions."""

    right: list[float]  # 1 or 0 for each
    control: float  # mean accuracy of probes on shuffled answers


def probe_answers(train: Questions, test: Questions, seed: int, strength: float = 0.1) -> list[Found]:
    """Fit on `train`, then score the likeliest of each question's choices on `test`.

    The control fits the same probe to answers shuffled among the questions that share their choices, so that it
    knows the choices but no fact.
    """
    rng = np.random.default_rng(seed)
    shuffled = [_shuffle(train, rng) for _ in range(SHUFFLES)]
    found = []
    for layer in range(train.states.shape[1]):
        states, held_out = (q.states[:, layer].double().numpy() for q in (train, test))
        mean, scale = states.mean(0), states.std(0) + 1e-6
        scaled = (states - mean) / scale, (held_out - mean) / scale
        control = [np.mean(_right(*scaled, answers, test, strength)) for answers in shuffled]
        found.append(Found(_right(*scaled, list(train.answers), test, strength), float(np.mean(control))))
    return found


def _right(
    states: np.ndarray, held_out: np.ndarray, answers: list[str], test: Questions, strength: float
) -> list[float]:
    from sklearn.linear_model import LogisticRegression

    probe = LogisticRegression(C=strength, max_iter=500).fit(states, answers)
    scores, place = probe.predict_log_proba(held_out), {name: i for i, name in enumerate(probe.classes_)}
    out = []
    for row, answer, choices in zip(scores, test.answers, test.choices, strict=True):
        known = [choice for choice in choices if choice in place]  # what was never an answer is never said
        said = max(known, key=lambda choice: row[place[choice]], default=None)
        out.append(float(said == answer))
    return out


def _shuffle(train: Questions, rng: np.random.Generator) -> list[str]:
    answers = np.array(train.answers)
    groups = [tuple(sorted(each)) for each in train.choices]
    for group in sorted(set(groups)):
        rows = [i for i, other in enumerate(groups) if other == group]
        answers[rows] = rng.permutation(answers[rows])
    return answers.tolist()
