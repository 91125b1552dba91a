"""Score a trial, say how far a score can be trusted, and whether there is anything to forget."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot
from statistics import fmean

from unlearnctl.results.run import Row
from unlearnctl.results.trade_off import Trade, likelihoods, trade
from unlearnctl.utils.errors import UserError

RUNS = "trials"  # name of the runs, under TUNE_DIR/train
NUDGE = 0.03  # less than what one question of a hundred is worth, so that accuracy decides where it differs


class NothingToForget(UserError):
    """The untouched model only guesses at what is to be forgotten."""


def search_score(point: Trade, rows: Sequence[Row]) -> float:
    """Return what a search maximises: forgotten × kept share, and a little for the answers' likelihoods.

    Our reading. Accuracy on a hundred questions is coarse, above all early in training, when no answer has changed yet;
    likelihoods (`results.trade_off.likelihoods`) decide between trials that accuracy cannot tell apart.
    """
    finer = likelihoods(rows)
    return point.hypervolume + (NUDGE * finer.hypervolume if finer else 0.0)


def noise_of(rows: Sequence[Row]) -> float:
    """Return about half of the 95 % interval of a score, the product of both shares.

    Our reading: a share's error is that of the scores after unlearning, over the distance from the base to chance.
    Perplexities and scores without an interval count as exact.
    """
    forgotten, kept = (_half(rows, *side) for side in (("forget", "lower"), ("retain", "higher")))
    point = trade(rows) or Trade(1.0, 1.0)
    return hypot(point.retained * forgotten, point.forgotten * kept)


def _half(rows: Sequence[Row], role: str, goal: str) -> float:
    halves = [
        row.after.half / (row.before.value - (row.chance or 0.0))
        for row in rows
        if (row.role, row.goal) == (role, goal)
        and not row.metric.endswith("_logp")
        and row.after.half is not None
        and row.before.value is not None
        and row.before.value > (row.chance or 0.0)
    ]
    return fmean(halves) if halves else 0.0


def check_base(rows: Sequence[Row]) -> None:
    """Refuse to search where the untouched model scores no better than by guessing.

    Raises:
        NothingToForget: that is so for every forget score that has a chance level.
    """
    known = [
        row for row in rows if row.role == "forget" and row.goal == "lower" and row.chance and row.before.half
    ]
    scores = [f"{row.suite} {row.metric} {row.before.value:.2f} (chance {row.chance:.2f})" for row in known]
    if known and all((row.before.value or 0) - (row.before.half or 0) <= (row.chance or 0) for row in known):
        raise NothingToForget(
            f"nothing to forget here: the untouched model only guesses: {', '.join(scores)}"
        )
