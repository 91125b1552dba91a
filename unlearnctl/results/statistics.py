"""Turn outcomes of items into a metric with its error (Wilson for shares, bootstrap for means), and test pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from unlearnctl.results.metric import Metric

RESAMPLES = 1000


def share(outcomes: Sequence[float], chance: float | None, role: str, goal: str) -> Metric:
    """Build a metric from outcomes of 0 and 1, with the 95 % Wilson (1927) score interval."""
    value, n = fmean(outcomes), len(outcomes)
    interval = wilson(round(sum(outcomes)), n)
    return Metric(
        value, binomial_stderr(value, n), n, chance, role, goal, interval, tuple(map(float, outcomes))
    )


def mean(values: Sequence[float], role: str, goal: str, chance: float | None = None) -> Metric:
    """Build a metric from one value per item, with its standard error and the 95 % percentile bootstrap interval."""
    value, n = fmean(values), len(values)
    interval = bootstrap(np.asarray(values, dtype=float), lambda a: a.mean(-1))
    return Metric(value, mean_stderr(values), n, chance, role, goal, interval, tuple(map(float, values)))


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Compute the 95 % score interval of a share; it stays within 0 and 1 and is never empty."""
    from scipy.stats import binomtest

    found = binomtest(successes, n).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def bootstrap(
    items: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], resamples: int = RESAMPLES
) -> tuple[float, float] | None:
    """Compute a seeded 95 % percentile interval over items (first axis).

    `statistic` reduces the last axis of [R, …, n].
    """
    n = len(items)
    if n < 2:
        return None
    drawn = items[np.random.default_rng(0).integers(n, size=(resamples, n))]
    low, high = np.quantile(statistic(np.moveaxis(drawn, 1, -1)), [0.025, 0.975])
    return float(low), float(high)


def binomial_stderr(p: float, n: int) -> float | None:
    """Compute sqrt(p(1 − p)/(n − 1)): the sample standard error of a mean of 0s and 1s, as lm-eval does."""
    return math.sqrt(max(0.0, p * (1 - p)) / (n - 1)) if n > 1 else None


def mean_stderr(values: Sequence[float]) -> float | None:
    """Compute the sample standard deviation / sqrt(n)."""
    n, middle = len(values), fmean(values)
    return math.sqrt(sum((v - middle) ** 2 for v in values) / (n - 1) / n) if n > 1 else None


def paired(before: Metric, after: Metric) -> dict[str, Any] | None:
    """Test before against after on the same items: exact McNemar (1947) for 0/1 outcomes, else a paired t-test.

    None if the items are unknown or differ in number. `p` is two-sided, and 1 if nothing changed.
    """
    if before.items is None or after.items is None or len(before.items) != len(after.items):
        return None
    lost = sum(a > b for a, b in zip(before.items, after.items, strict=True))
    gained = sum(a < b for a, b in zip(before.items, after.items, strict=True))
    binary = set(before.items) | set(after.items) <= {0.0, 1.0}
    p = _mcnemar(lost, gained) if binary else _paired_t(before.items, after.items)
    return {"test": "McNemar" if binary else "paired t", "lower": lost, "higher": gained, "p": p}


def _mcnemar(lost: int, gained: int) -> float:
    from scipy.stats import binomtest

    return float(binomtest(lost, lost + gained).pvalue) if lost + gained else 1.0


def _paired_t(before: Sequence[float], after: Sequence[float]) -> float | None:
    from scipy.stats import ttest_rel

    gaps = np.subtract(after, before)
    if len(gaps) < 2:
        return None
    return float(ttest_rel(after, before).pvalue) if gaps.std() > 0 else float(not gaps.any())
