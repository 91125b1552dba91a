"""A trial's score: accuracy decides, likelihoods only where it cannot; and how far a score can be trusted."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import stdev

import pytest

from unlearnctl.results.metric import Metric
from unlearnctl.results.record import scores_to_json, write_items
from unlearnctl.results.run import Row, Score
from unlearnctl.results.statistics import share
from unlearnctl.results.trade_off import Trade, likelihoods
from unlearnctl.tuning.score import NUDGE, check_base, noise_of, search_score
from unlearnctl.utils.errors import UserError


def logp(role: str, before: float, after: float) -> Row:
    goal = "lower" if role == "forget" else "higher"
    return Row("mc", f"{role}_logp", role, goal, Score(before), Score(after))


def row(before: float, after: float, half: float, chance: float | None = 0.25) -> Row:
    ends = (after - half, after + half)
    score = Score(before, chance=chance, interval=(before - half, before + half))
    return Row("mc", "accuracy", "forget", "lower", score, Score(after, chance=chance, interval=ends))


def test_noise_is_that_of_the_items_which_a_run_has_written(tmp_path: Path) -> None:
    """Eight of ten answers become five on one side, and eight become seven on the other; the same ten are asked."""

    def side(forget: int, retain: int) -> dict[str, dict[str, Metric]]:
        counts = {"forget": (forget, "lower"), "retain": (retain, "higher")}
        made = {
            role: share([float(place < right) for place in range(10)], 0.25, role, goal)
            for role, (right, goal) in counts.items()
        }
        return {"mc": made}

    before, after = side(8, 8), side(5, 7)
    record = {"before": scores_to_json(before), "after": scores_to_json(after)}
    (tmp_path / "results.json").write_text(json.dumps(record))
    write_items(tmp_path, before=before, after=after)
    # forgotten 3/5.5, kept 4.5/5.5; of ten changes three and one are -1
    three, one = (stdev([-1.0] * n + [0.0] * (10 - n)) / math.sqrt(10) / 0.55 for n in (3, 1))
    expected = math.hypot(4.5 / 5.5 * three, 3 / 5.5 * one)
    assert noise_of(tmp_path) == pytest.approx(1.96 * expected)


def test_a_model_that_guesses_has_nothing_to_forget() -> None:
    check_base([row(0.45, 0.3, 0.05)])
    check_base([row(0.27, 0.3, 0.05), row(0.45, 0.3, 0.05)])
    check_base([row(0.27, 0.3, 0.05, chance=None)])
    with pytest.raises(UserError, match=r"nothing to forget here: .* mc accuracy 0.27 \(chance 0.25\)"):
        check_base([row(0.27, 0.3, 0.05)])


def test_likelihoods_by_hand() -> None:
    """A half of the forget answers' likelihood is left, a quarter of the others'; what rises counts as all."""
    rows = [logp("forget", -20, -20 + math.log(0.5)), logp("retain", -18, -18 + math.log(0.25))]
    assert likelihoods(rows) == (pytest.approx(0.5), pytest.approx(0.25))
    assert likelihoods([logp("forget", -20, -19), logp("retain", -18, -17)]) == (0, 1)
    assert likelihoods(rows[:1]) == (pytest.approx(0.5), 1)
    assert likelihoods(rows[1:]) is None
    assert likelihoods([row(0.45, 0.3, 0.05)]) is None


def test_likelihoods_decide_only_between_equal_accuracies() -> None:
    little, much = ([logp("forget", -20, -20 - drop), logp("retain", -18, -18)] for drop in (0.1, 9.0))
    alike = Trade(0.4, 0.9)
    assert search_score(alike, []) == alike.hypervolume
    assert search_score(alike, little) < search_score(alike, much) < alike.hypervolume + NUDGE
    one_question = Trade(0.4 + 0.01 / 0.25, 0.9)  # of a hundred, where the base is .25 above chance
    assert search_score(one_question, little) > search_score(alike, much)


def test_a_diverged_run_gains_nothing_by_likelihoods() -> None:
    found = likelihoods([logp("forget", -20, math.nan), logp("retain", -18, math.nan)])
    assert found is not None
    assert found.hypervolume == 0
