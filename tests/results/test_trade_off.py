"""Shares and hypervolumes of runs, from their results alone."""

from __future__ import annotations

import math

import pytest

from unlearnctl.results.metric import Metric
from unlearnctl.results.run import Row, Score
from unlearnctl.results.trade_off import Trade, front, hypervolume, trade
from unlearnctl.training.evaluator import trade_off


def row(metric: str, role: str, goal: str, before: float, after: float, chance: float | None = None) -> Row:
    return Row("s", metric, role, goal, Score(before, chance=chance), Score(after, chance=chance))


ROWS = [
    row("acc", "forget", "lower", 1.0, 0.4, 0.25),
    row("auroc", "forget", "chance", 0.9, 0.5, 0.5),  # has no share
    row("good", "retain", "higher", 0.95, 0.9, 0.25),
    row("ppl", "retain", "lower", 2.0, 2.5),
]


def test_the_same_as_in_training() -> None:
    """Forgotten (1 − .4)/.75 = .8; kept the mean of .65/.7 and 2/2.5."""

    def scores(when: str) -> dict[str, dict[str, Metric]]:
        return {
            "s": {
                r.metric: Metric(
                    value=getattr(r, when).value, stderr=0, n=1, chance=r.chance, role=r.role, goal=r.goal
                )
                for r in ROWS
            }
        }

    point = trade(ROWS)
    assert point
    assert point.forgotten == pytest.approx(0.8)
    assert point.retained == pytest.approx((0.65 / 0.7 + 0.8) / 2)
    assert tuple(point) == pytest.approx(trade_off(scores("before"), scores("after")))


def test_nothing_where_a_side_is_missing_or_no_number() -> None:
    assert trade(ROWS[:2]) is None
    assert trade([*ROWS, row("x", "retain", "higher", 0.5, math.nan)]) is None


def test_hypervolume_is_the_area_of_the_union() -> None:
    """[0, .5] × [0, .8] and [0, .8] × [0, .5]: .4 + .4 − .25."""
    a, b, beaten = Trade(0.5, 0.8), Trade(0.8, 0.5), Trade(0.4, 0.4)
    assert hypervolume([a, b, beaten]) == pytest.approx(0.55)
    assert hypervolume([a]) == pytest.approx(a.hypervolume)
    assert hypervolume([]) == 0
    assert front([b, beaten, a, a]) == [a, b]
