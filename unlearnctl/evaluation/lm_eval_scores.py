"""What lm-eval reports of a task or a group, as a metric with its error, its items and the way that it should go."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from unlearnctl.errors import UserError, unknown
from unlearnctl.evaluation.record import Metric
from unlearnctl.evaluation.statistics import RESAMPLES, mean, mean_stderr, share

OF_A_CORPUS = ("bleu", "chrf", "ter")  # slow, so the harness itself draws a hundred times at most
NORMAL = 1.96  # standard errors on each side of a 95 % interval


@dataclass(frozen=True)
class Part:
    """One task's outcomes, and how they become its score."""

    outcomes: list[Any]
    aggregate: Callable[[list[Any]], Any]

    @property
    def is_mean(self) -> bool:
        """Whether the score is the plain mean of one number an item."""
        numbers = all(isinstance(value, int | float | np.number) for value in self.outcomes)
        return numbers and getattr(self.aggregate, "__name__", "") == "mean"


def check_metric(task: Any, asked: str, key: str) -> None:
    """Refuse a metric that a loaded task does not have.

    Raises:
        UserError: the nearest that it has; or the filters, where one must be named.
    """
    if callable(task.config.process_results):  # which may report anything
        return
    names = [f"{metric},{one.name}" for metric in task.aggregation() for one in task._filters]
    _named(names, asked, key)


@dataclass(frozen=True)
class Wanted:
    """What a suite asks for."""

    metric: str  # `acc`, or with its filter `exact_match,strict-match`
    role: str
    chance: float | None
    key: str

    def goal(self, higher_is_better: bool) -> str:
        """Where the score should go: a forget task's is to get worse."""
        return "higher" if higher_is_better == (self.role == "retain") else "lower"


def score(results: Mapping[str, Any], loaded: Mapping[str, Any], task: str, wanted: Wanted) -> Metric:
    """The harness's own number for a task or group.

    A group is weighted as its `aggregate_metric_list` says. Where it has none, the harness reports nothing; ours is
    then the mean over all questions. The interval is Wilson's for shares, else from a bootstrap over items, and for a
    group of unweighted tasks normal.

    Raises:
        UserError: there is no such metric, it has several filters and none is named, or it is no number.
    """
    leaves = leaves_of(results, task)
    names = [name for leaf in leaves for name in _names(results["results"][leaf])]
    metric, _, which = (name := _named(names, wanted.metric, wanted.key)).rpartition(",")
    found = (_part(results["samples"][leaf], loaded["tasks"][leaf], metric, which) for leaf in leaves)
    parts = [part for part in found if part.outcomes]
    reported = results["results"][task].get(name)
    up = (results["higher_is_better"].get(task) or {}).get(metric, True) is not False
    goal, chance = wanted.goal(up), wanted.chance if up else None
    if not all(part.is_mean for part in parts):
        return _bootstrapped(parts, _number(reported, task, wanted), metric, wanted.role, goal)
    if len(parts) > 1 and not _by_size(loaded, task, metric, which):
        return _unweighted(parts, _number(reported, task, wanted), wanted.role, goal, chance)
    pooled = [float(value) for part in parts for value in part.outcomes]
    if set(pooled) <= {0.0, 1.0}:
        return share(pooled, chance, wanted.role, goal)
    return mean(pooled, wanted.role, goal, chance)


def _number(reported: Any, task: str, wanted: Wanted) -> float:
    """Raises UserError: lm-eval reports nothing for this group, or no number."""
    if not isinstance(reported, int | float):
        said = "reports no score" if reported is None else f"reports {type(reported).__name__}, not a number"
        raise UserError(
            f"{wanted.key}.metric={wanted.metric}: lm-eval {said} for {task}; name another metric or task"
        )
    return float(reported)


def leaves_of(results: Mapping[str, Any], task: str) -> list[str]:
    """The tasks of a group, each once; of a task, itself."""
    children = results.get("group_subtasks", {}).get(task, [])
    found = [leaf for child in children for leaf in leaves_of(results, child)] if children else [task]
    return list(dict.fromkeys(found))


def _names(result: Mapping[str, Any]) -> list[str]:
    return [name for name in result if "," in name and not name.partition(",")[0].endswith("_stderr")]


def _named(names: Sequence[str], asked: str, key: str) -> str:
    names = list(dict.fromkeys(names))
    if asked in names:
        return asked
    found = [name for name in names if name.rpartition(",")[0] == asked]
    if not found:
        raise unknown(f"{key}.metric", asked, list(dict.fromkeys(n.rpartition(",")[0] for n in names)))
    if len(found) > 1:
        raise UserError(f"{key}.metric={asked}: has several filters; name one: {' or '.join(found)}")
    return found[0]


def _part(samples: Sequence[Mapping[str, Any]], task: Any, metric: str, which: str) -> Part:
    from lm_eval.api.metrics import mean as their_mean

    outcomes = [s[metric] for s in samples if s["filter"] == which and metric in s]
    return Part(outcomes, task.aggregation().get(metric, their_mean))


def _by_size(loaded: Mapping[str, Any], task: str, metric: str, which: str) -> bool:
    group = loaded.get("groups", {}).get(task)
    entries = [
        entry
        for entry in (group.aggregate_metric_list if group else None) or ()
        if entry.metric == metric and (entry.filter_list is None or which in entry.filter_list)
    ]
    return entries[-1].weight_by_size if entries else True


def _unweighted(parts: list[Part], value: float, role: str, goal: str, chance: float | None) -> Metric:
    """The mean of tasks' means. An item counts as much as its task has few, so that their mean is the value."""
    errors = [mean_stderr(part.outcomes) for part in parts]
    stderr = None
    if all(error is not None for error in errors):
        stderr = math.sqrt(sum(error**2 for error in errors if error is not None)) / len(parts)
    n = sum(len(part.outcomes) for part in parts)
    items = [float(x) * n / len(parts) / len(part.outcomes) for part in parts for x in part.outcomes]
    interval = None
    if stderr is not None:
        interval = value - NORMAL * stderr, value + NORMAL * stderr
        if all(x in (0, 1) for part in parts for x in part.outcomes):
            interval = max(0.0, interval[0]), min(1.0, interval[1])
    return Metric(value, stderr, n, chance, role, goal, interval, tuple(items))


def _bootstrapped(parts: list[Part], value: float, metric: str, role: str, goal: str) -> Metric:
    """A score that is no mean of its items (a perplexity, an F1), with an error from resampled items of its task."""
    n = sum(len(part.outcomes) for part in parts)
    found = Metric(value, None, n, None, role, goal)
    if len(parts) > 1 or n < 2:
        return found
    (part,), draws = parts, np.random.default_rng(0)
    count = RESAMPLES // 10 if metric.startswith(OF_A_CORPUS) else RESAMPLES
    with suppress(ValueError, ArithmeticError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a draw may lack a class altogether
        drawn = [[part.outcomes[i] for i in draws.integers(n, size=n)] for _ in range(count)]
        values = [float(part.aggregate(items)) for items in drawn]
        low, high = np.quantile(values, [0.025, 0.975])
        return replace(found, stderr=float(np.std(values, ddof=1)), interval=(float(low), float(high)))
    return found
