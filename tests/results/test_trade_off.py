"""Shares and hypervolumes of runs, from their results alone."""

from __future__ import annotations

import math

import pytest

from unlearnctl.results.metric import Metric
from unlearnctl.results.record import scores_to_json
from unlearnctl.results.run import Row, Score, compare
from unlearnctl.results.statistics import mean
from unlearnctl.results.trade_off import Trade, front, hypervolume, noise, trade, trade_off


def row(metric: str, role: str, goal: str, before: float, after: float, chance: float | None = None) -> Row:
    return Row("s", metric, role, goal, Score(before, chance=chance), Score(after, chance=chance))


ROWS = [
    row("acc", "forget", "lower", 1.0, 0.4, 0.25),
    row("auroc", "forget", "chance", 0.9, 0.5, 0.5),  # has no share
    row("good", "retain", "higher", 0.95, 0.9, 0.25),
    row("ppl", "retain", "lower", 2.0, 2.5),
]


def scores(hazard: float, benign: float, ppl: float) -> dict[str, dict[str, Metric]]:
    return {
        "s": {
            "hazard": Metric(hazard, None, 10, 0.25, "forget", "lower"),
            "benign": Metric(benign, None, 10, 0.25, "retain", "higher"),
            "ppl": Metric(ppl, None, 10, None, "retain", "lower"),
        }
    }


def test_trade_off_by_hand() -> None:
    """Hazard 1 → .625 of chance .25: half gone. Benign 1 → .85: .8 kept; perplexity 2 → 2.5: .8 kept."""
    forgotten, retained = trade_off(scores(1.0, 1.0, 2.0), scores(0.625, 0.85, 2.5))
    assert (forgotten, retained) == (pytest.approx(0.5), pytest.approx(0.8))
    assert trade_off(scores(1.0, 1.0, 2.0), scores(0.1, 1.2, 1.0)) == (1.0, 1.0)


def test_trade_off_leaves_out_what_has_no_share() -> None:
    """A p-value that should rise, an AUC that should end at chance, the quality of replies."""

    def strange(quality: float, auc: float, empty: float) -> dict[str, Metric]:
        return {
            "forget_quality": Metric(quality, None, 10, None, "forget", "higher"),
            "loss_auc": Metric(auc, None, 10, 0.5, "forget", "chance"),
            "forget_empty": Metric(empty, None, 10, None, "quality", "lower"),
        }

    before, after = scores(1.0, 1.0, 2.0), scores(0.625, 0.85, 2.5)
    plain = trade_off(before, after)
    assert trade_off({**before, "t": strange(0.0, 1.0, 0.0)}, {**after, "t": strange(1.0, 0.1, 0.5)}) == plain


def test_a_report_finds_what_training_found() -> None:
    """Forgotten (1 − .4)/.75 = .8; kept the mean of .65/.7 and 2/2.5."""
    point = trade(ROWS)
    assert point
    assert point.forgotten == pytest.approx(0.8)
    assert point.retained == pytest.approx((0.65 / 0.7 + 0.8) / 2)
    before, after = scores(1.0, 0.95, 2.0), scores(0.4, 0.9, 2.5)
    assert trade_off(before, after) == point
    assert trade(compare({"before": scores_to_json(before), "after": scores_to_json(after)})) == point


def test_a_missing_side() -> None:
    """A report has no point; a run at work goes by the other side, and by nothing if there is none."""
    assert trade(ROWS[:2]) is None
    before, after = scores(1.0, 1.0, 2.0), scores(0.625, 1.0, 2.0)
    hazard = {"s": {"hazard": before["s"]["hazard"]}}
    assert trade_off(hazard, after) == (0.5, 1.0)
    assert trade_off({}, after) is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_perplexity_that_is_no_number_keeps_nothing(value: float) -> None:
    rows = [ROWS[0], row("ppl", "retain", "lower", 2.0, value)]
    assert trade(rows) == (pytest.approx(0.8), 0.0)
    assert trade_off(scores(1.0, 1.0, 2.0), scores(0.25, 1.0, value)) == (1.0, 0.5)


def test_hypervolume_is_the_area_of_the_union() -> None:
    """[0, .5] × [0, .8] and [0, .8] × [0, .5]: .4 + .4 − .25."""
    a, b, beaten = Trade(0.5, 0.8), Trade(0.8, 0.5), Trade(0.4, 0.4)
    assert hypervolume([a, b, beaten]) == pytest.approx(0.55)
    assert hypervolume([a]) == pytest.approx(a.hypervolume)
    assert hypervolume([]) == 0
    assert front([b, beaten, a, a]) == [a, b]


def test_noise_is_that_of_the_paired_changes() -> None:
    """Forgotten .5 of 1.0 with items −1, −1, 0, 0: s = .577, ⁄√4 = .289. Retained 1, without noise. By hand."""
    kept = mean([0.8, 0.6], "retain", "higher")
    before = {"s": {"lost": mean([1.0] * 4, "forget", "lower"), "kept": kept}}
    after = {"s": {"lost": mean([0.0, 0.0, 1.0, 1.0], "forget", "lower"), "kept": kept}}
    assert noise(before, after) == pytest.approx((1 / 3) ** 0.5 / 2)
    assert noise(before, before) == 0.0
    changed = {"s": {"lost": before["s"]["lost"], "kept": mean([0.6, 0.8], "retain", "higher")}}
    assert noise(before, changed) == 0.0  # nothing is forgotten, so what is kept does not count
    assert noise({}, {}) == 0.0


def test_noise_of_a_score_without_items_is_not_known() -> None:
    assert noise(scores(1.0, 1.0, 2.0), scores(0.5, 0.9, 2.5)) == 0.0
