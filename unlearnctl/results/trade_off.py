"""Place a run in the plane of the forgotten and the retained share, 0-1 each; hypervolumes of several runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from math import hypot
from statistics import fmean, stdev
from typing import NamedTuple

from unlearnctl.results.metric import Metric, Scores
from unlearnctl.results.run import Row, Score


class Trade(NamedTuple):
    """The share of the forget side that is gone and the share of the retain side that is left."""

    forgotten: float
    retained: float

    @property
    def hypervolume(self) -> float:
        """Return the area between this one point and (0, 0)."""
        return self.forgotten * self.retained


def trade(rows: Iterable[Row]) -> Trade | None:
    """Place a run on the plane; None unless both sides were measured, before and after."""
    forgotten, retained = _shares(rows)
    return None if forgotten is None or retained is None else Trade(forgotten, retained)


def trade_off(before: Scores, after: Scores) -> Trade | None:
    """Place a run in the plane while it is at work; None if no metric counts.

    If only one side was measured, the other counts as 1, so that the measured one decides.
    """
    forgotten, retained = _shares(rows_of(before, after))
    if forgotten is None and retained is None:
        return None
    return Trade(1.0 if forgotten is None else forgotten, 1.0 if retained is None else retained)


def rows_of(before: Scores, after: Scores) -> list[Row]:
    """Pair what was measured twice."""
    return [
        Row(suite, name, now.role, now.goal, _score(before[suite][name]), _score(now))
        for suite, metrics in after.items()
        for name, now in metrics.items()
        if name in before.get(suite, {})
    ]


def likelihoods(rows: Iterable[Row]) -> Trade | None:
    """Place a run by log-likelihoods of answers (`*_logp`) instead; None if no forget side has one, 1 kept if no retain
    side has.

    Our reading: exp(after − before) is left of a likelihood, as of a perplexity, clipped to 0-1. This moves long before
    an answer changes, and has ended long before an accuracy has.
    """
    left: dict[str, list[float]] = {"forget": [], "retain": []}
    for row in rows:
        if row.metric.endswith("_logp") and row.role in left and row.change is not None:
            left[row.role].append(math.exp(min(0.0, row.change)))
    if not left["forget"]:
        return None
    return Trade(1 - fmean(left["forget"]), fmean(left["retain"] or [1.0]))


def _score(metric: Metric) -> Score:
    return Score(metric.value, chance=metric.chance)


def _shares(rows: Iterable[Row]) -> tuple[float | None, float | None]:
    """Average the forgotten shares and the retained shares; None for a side without metrics.

    Forgotten: (before − after)/(before − chance) of forget metrics that should fall, chance 0 where there is none.
    Retained: (after − chance)/(before − chance) of retain metrics that should rise; before/after of perplexities.
    No other metric has such a share: not a p-value that should rise, not an AUC that should end at chance, not a
    log-likelihood (`*_logp`), which has no bottom.
    Shares are clipped to 0-1. The definition is ours; what the papers plot are the metrics themselves.
    """
    found: dict[str, list[float]] = {"forget": [], "retain": []}
    for row in rows:
        old, new, chance = row.before.value, row.after.value, row.chance or 0.0
        if old is None or new is None or not _counts(row):
            continue
        if row.role == "forget":
            share = _share(old - new, old - chance)
        elif row.goal == "lower":
            share = _share(old, new)
        else:
            share = _share(new - chance, old - chance)
        found[row.role].append(share)
    forgotten, retained = (fmean(side) if side else None for side in found.values())
    return forgotten, retained


def _counts(row: Row) -> bool:
    wanted = {"forget": "lower", "retain": "lower" if row.metric.endswith("ppl") else "higher"}
    return wanted.get(row.role) == row.goal and not row.metric.endswith("_logp")


def _share(part: float, whole: float) -> float:
    # `max` returns its first argument if the other is NaN, so a diverged score counts as nothing forgotten or kept
    return min(1.0, max(0.0, part / whole)) if whole > 0 else 0.0


def noise(before: Scores, after: Scores) -> float:
    """Return how far a run's hypervolume would move if other items were drawn: one standard error of it (ours).

    It is that of the mean change of an item, on each side. Perplexities and metrics without items count as exact.
    """
    point = trade_off(before, after)
    if point is None:
        return 0.0
    errors: dict[str, list[float]] = {"forget": [], "retain": []}
    for suite, metrics in after.items():
        for name, now in metrics.items():
            was = before.get(suite, {}).get(name)
            if was and _counts(Row(suite, name, now.role, now.goal, _score(was), _score(now))):
                errors[now.role].append(_error(was, now) if not name.endswith("ppl") else 0.0)
    forgotten, retained = (hypot(*side) / len(side) if side else 0.0 for side in errors.values())
    return hypot(point.retained * forgotten, point.forgotten * retained)


def _error(was: Metric, now: Metric) -> float:
    """Return the standard error of a share, from the paired changes of its items."""
    height, pairs = was.value - (was.chance or 0.0), (was.items or (), now.items or ())
    if height <= 0 or len(pairs[0]) != len(pairs[1]) or len(pairs[0]) < 2:
        return 0.0
    return stdev(b - a for a, b in zip(*pairs, strict=True)) / len(pairs[0]) ** 0.5 / height


def hypervolume(points: Sequence[Trade]) -> float:
    """Compute the area that the points cover together, seen from (0, 0); 1 is everything forgotten and kept."""
    if not points:
        return 0.0
    import moocore

    return float(moocore.hypervolume([list(point) for point in points], ref=[0, 0], maximise=True))


def front(points: Sequence[Trade]) -> list[Trade]:
    """Pick the points that no other beats, from the one that kept most to the one that forgot most, each once."""
    unbeaten: list[Trade] = []
    for point in sorted(set(points), key=lambda p: (p.retained, p.forgotten), reverse=True):
        if not unbeaten or point.forgotten > unbeaten[-1].forgotten:
            unbeaten.append(point)
    return sorted(unbeaten)
