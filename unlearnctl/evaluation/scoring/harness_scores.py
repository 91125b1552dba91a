"""The harness's scores as metrics: its very value, with an interval, and each question's outcome where there is one."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np

from unlearnctl.results.metric import Metric
from unlearnctl.results.statistics import RESAMPLES, mean, mean_stderr, share

# What picking a choice at random has a score in.
GUESSED = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info")
SLOW = ("bleu", "chrf", "chrfpp", "ter")  # the harness, too, draws a hundred samples of these


@dataclass(frozen=True)
class Part:
    """What the harness keeps of each question of one task for one score."""

    values: list[Any]
    aggregate: Callable[[list[Any]], Any]
    weight: float = 1.0  # in the score of a group

    @property
    def name(self) -> str:
        """The aggregation's name."""
        return str(getattr(self.aggregate, "__name__", ""))


def metric_of(parts: Sequence[Part], value: float, role: str, goal: str, chance: float | None) -> Metric:
    """Build the metric of a task (one part) or of a group; `value` is the harness's own figure."""
    outcomes = [_outcomes(part) for part in parts]
    if all(found is not None for found in outcomes):
        found = _averaged(parts, [list(x or ()) for x in outcomes], role, goal, chance)
    else:
        found = _resampled(parts, value, role, goal)
    return replace(found, value=value)


def _averaged(
    parts: Sequence[Part], outcomes: Sequence[list[float]], role: str, goal: str, chance: float | None
) -> Metric:
    """Build the metric of means; without weighting by size, outcomes are scaled so that their mean is the score."""
    total = sum(map(len, outcomes))
    scales = [part.weight * total / len(found) for part, found in zip(parts, outcomes, strict=True)]
    if all(math.isclose(scale, 1.0) for scale in scales):
        flat = [x for found in outcomes for x in found]
        whole = share(flat, chance, role, goal) if set(flat) <= {0.0, 1.0} else mean(flat, role, goal, chance)
        return whole if len(parts) == 1 else replace(whole, stderr=_pooled(outcomes))
    replicates = [p.weight * _means_of_samples(x) for p, x in zip(parts, outcomes, strict=True)]
    errors = [mean_stderr(x) for x in outcomes]
    known = [w.weight * e for w, e in zip(parts, errors, strict=True) if e is not None]
    stderr = math.hypot(*known) if len(known) == len(parts) else None
    items = tuple(x * s for found, s in zip(outcomes, scales, strict=True) for x in found)
    return Metric(0.0, stderr, total, chance, role, goal, _interval(np.sum(replicates, axis=0)), items)


def _pooled(outcomes: Sequence[list[float]]) -> float | None:
    """Return the harness's standard error of a mean over all questions of several tasks."""
    from lm_eval.api.metrics import pooled_sample_stderr

    errors = [error for found in outcomes if (error := mean_stderr(found)) is not None]
    sizes = [len(found) for found in outcomes]
    return float(pooled_sample_stderr(errors, sizes)) if len(errors) == len(sizes) else None


def _resampled(parts: Sequence[Part], value: float, role: str, goal: str) -> Metric:
    """Build the metric of a score that is no mean over questions: interval and error come from resampled questions."""
    drawn = np.array([])
    # A score may not exist for a sample: a correlation or an F1 of questions that all have the same answer.
    with warnings.catch_warnings(), suppress(Exception):
        warnings.simplefilter("ignore")
        drawn = np.sum([part.weight * _scores_of_samples(part) for part in parts], axis=0)
    usable = len(drawn) > 1 and bool(np.isfinite(drawn).all())
    items = [_one(part, x) for part in parts for x in part.values]
    known = tuple(x for x in items if x is not None)
    return Metric(
        value,
        float(np.std(drawn, ddof=1)) if usable else None,
        len(items),
        None,
        role,
        goal,
        _interval(drawn) if usable else None,
        known if len(known) == len(items) else None,
    )


def _scores_of_samples(part: Part) -> np.ndarray:
    rng, n = np.random.default_rng(0), len(part.values)
    times = (100 if part.name in SLOW else RESAMPLES) if n > 1 else 0
    picks = (rng.integers(n, size=n) for _ in range(times))
    return np.array([float(part.aggregate([part.values[i] for i in pick])) for pick in picks])


def _means_of_samples(outcomes: Sequence[float]) -> np.ndarray:
    n = len(outcomes)
    return np.asarray(outcomes)[np.random.default_rng(0).integers(n, size=(RESAMPLES, n))].mean(-1)


def _interval(drawn: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def _outcomes(part: Part) -> list[float] | None:
    """Return numbers whose mean is the task's score, if there are any."""
    from lm_eval.api import metrics

    if part.aggregate is metrics.mean and all(_is_number(x) for x in part.values):
        return [float(x) for x in part.values]
    if part.aggregate is metrics.brier_score:
        return [float(metrics.brier_score([x])) for x in part.values]
    return None


def _one(part: Part, value: Any) -> float | None:
    """Return one question's outcome, comparable before and after; for perplexities the NLL per unit."""
    from lm_eval.api import metrics

    if part.aggregate is metrics.perplexity:
        return -float(value)
    if part.aggregate in (metrics.weighted_perplexity, metrics.bits_per_byte):
        return -value[0] / value[1] if value[1] else None
    return float(value) if _is_number(value) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number, np.bool_)) and math.isfinite(value)


def guess(samples: Sequence[Any], metric: str, task: Any) -> float | None:
    """Return what a random pick scores, from the numbers of choices and right choices; None if nothing is picked."""
    if (
        task.OUTPUT_TYPE != "multiple_choice"
        or metric not in GUESSED
        or callable(task.get_config("process_results"))
    ):
        return None
    halves = 2 if "acc_mutual_info" in task._metric_fn_list else 1
    return fmean(_right(sample["target"]) * halves / len(sample["filtered_resps"]) for sample in samples)


def _right(target: Any) -> int:
    return len(set(target)) if isinstance(target, list) else 1


def group_weights(group: Any, metric: str, way: str, sizes: Sequence[int]) -> list[float]:
    """Return each task's weight in a group's score, as `weight_by_size` says; None for a single task."""
    by_size = True
    for one in group.aggregate_metric_list if group else ():
        if one.metric == metric and (one.filter_list is None or way in one.filter_list):
            by_size = one.weight_by_size  # the last entry that applies, as in the harness
    return [size / sum(sizes) if by_size else 1 / len(sizes) for size in sizes]
