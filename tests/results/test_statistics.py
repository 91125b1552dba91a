"""Intervals and paired tests against scipy and statsmodels-free hand computation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, ttest_rel
from scipy.stats import bootstrap as scipy_bootstrap

from unlearnctl.results.metric import Metric
from unlearnctl.results.statistics import mean, paired, share


def test_wilson_by_hand() -> None:
    """27 of 90: centre (p + z²/2n)/(1 + z²/n), half-width z/(1 + z²/n)·sqrt(p(1 − p)/n + z²/4n²)."""
    n, p, z = 90, 0.3, 1.959963984540054
    metric = share([1.0] * 27 + [0.0] * 63, 0.25, "forget", "lower")
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert metric.interval == pytest.approx((centre - half, centre + half))
    assert metric.stderr == pytest.approx(math.sqrt(p * (1 - p) / 89))
    assert (metric.value, metric.n) == (pytest.approx(0.3), 90)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_interval_at_the_edge_is_neither_empty_nor_outside(value: float) -> None:
    low, high = share([value] * 20, None, "forget", "lower").interval or (0, 0)
    assert 0 <= low < high <= 1
    assert share([value], None, "forget", "lower").stderr is None


def test_bootstrap_agrees_with_scipys() -> None:
    values = np.random.default_rng(1).gamma(2.0, size=60)
    low, high = mean(values.tolist(), "retain", "higher").interval or (0, 0)
    other = scipy_bootstrap(
        (values,), np.mean, n_resamples=20000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert (low, high) == pytest.approx((other.low, other.high), rel=0.03)
    assert mean([1.0], "retain", "higher").interval is None


def metric(items: list[float]) -> Metric:
    return Metric(sum(items) / len(items), None, len(items), None, "forget", "lower", None, tuple(items))


def test_mcnemar_is_the_exact_binomial_on_what_changed() -> None:
    """Seven lost, one gained: two-sided p = 2·P(X ≤ 1), X ~ Bin(8, ½) = 2·9/256."""
    before = [1.0] * 10 + [0.0] * 10
    after = [0.0] * 7 + [1.0] * 3 + [1.0] + [0.0] * 9
    found = paired(metric(before), metric(after))
    assert found == {"test": "McNemar", "lower": 7, "higher": 1, "p": pytest.approx(2 * binom.cdf(1, 8, 0.5))}
    assert (paired(metric(before), metric(before)) or {})["p"] == 1.0


def test_other_items_are_compared_by_a_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.normal(size=30), rng.normal(0.3, size=30)
    found = paired(metric(before.tolist()), metric(after.tolist())) or {}
    assert found["test"] == "paired t"
    assert found["p"] == pytest.approx(ttest_rel(after, before).pvalue)
    same = paired(metric([0.5, 0.25]), metric([0.5, 0.25])) or {}
    assert same["p"] == 1.0


def test_nothing_is_said_of_items_that_are_not_the_same() -> None:
    assert paired(metric([1.0]), metric([1.0, 0.0])) is None
    assert paired(Metric(1.0, None, 1, None, "forget", "lower"), metric([1.0])) is None
