"""Score a trial, say how far a score can be trusted, and whether there is anything to forget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unlearnctl.results.record import scores_from_json
from unlearnctl.results.run import Row
from unlearnctl.results.trade_off import Trade, likelihoods, noise
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.safe_json import loads

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


def noise_of(run: Path) -> float:
    """Return half of the 95 % interval of a completed run's score, from the paired changes of its items."""
    record, items = (
        loads((run / name).read_text(encoding="utf-8")) for name in ("results.json", "items.json")
    )
    before, after = (scores_from_json(record[side], items[side], {}) for side in ("before", "after"))
    return 1.96 * noise(before, after)


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
