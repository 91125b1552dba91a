"""A trial's score: accuracy decides, likelihoods only where it cannot; and how far a score can be trusted."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from unlearnctl.results.run import Row, Score
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


def test_noise_is_the_interval_over_the_way_to_chance() -> None:
    assert noise_of([row(0.75, 0.4, 0.05), row(0.5, 0.3, 0.05)]) == pytest.approx((0.1 + 0.2) / 2)


def test_the_noise_of_a_product_is_that_of_both_shares() -> None:
    """Half of the way to chance is forgotten, give or take .1, and .8 is kept, give or take .2."""
    kept = replace(row(0.5, 0.45, 0.05), role="retain", goal="higher")
    assert noise_of([row(0.75, 0.5, 0.05), kept]) == pytest.approx(math.hypot(0.8 * 0.1, 0.5 * 0.2))
    assert noise_of([kept]) == pytest.approx(0.2)


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
