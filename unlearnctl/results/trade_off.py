"""One run as a point: the share that was forgotten and the share that was kept, 0-1 each; hypervolumes of several."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import NamedTuple

from unlearnctl.results.run import Row
from unlearnctl.utils import numbers


class Trade(NamedTuple):
    """As `training.monitor.trade_off` defines them, here from results.json."""

    forgotten: float
    retained: float

    @property
    def hypervolume(self) -> float:
        """Of this one point: the area between it and (0, 0)."""
        return self.forgotten * self.retained


def trade(rows: Iterable[Row]) -> Trade | None:
    """Forgotten: mean of (before − after)/(before − chance) over forget metrics that should fall. Retained: mean of
    (after − chance)/(before − chance) over retain metrics that should rise, before/after for perplexities.

    None where a run has no metric of one of the two kinds, before and after, or one of them is no number.
    """
    forgotten: list[float] = []
    retained: list[float] = []
    for row in rows:
        old, new, chance = row.before.value, row.after.value, row.chance or 0.0
        wanted = {"forget": "lower", "retain": "lower" if row.metric.endswith("ppl") else "higher"}
        if wanted.get(row.role) != row.goal or old is None or new is None:
            continue
        if numbers.finite(old) is None or numbers.finite(new) is None:
            return None
        if row.role == "forget":
            forgotten.append(_share(old - new, old - chance))
        else:
            part, whole = (old, new) if row.goal == "lower" else (new - chance, old - chance)
            retained.append(_share(part, whole))
    return Trade(fmean(forgotten), fmean(retained)) if forgotten and retained else None


def _share(part: float, whole: float) -> float:
    return min(1.0, max(0.0, part / whole)) if whole > 0 else 0.0


def hypervolume(points: Sequence[Trade]) -> float:
    """The area that the points cover together, seen from (0, 0); 1 is everything forgotten and everything kept."""
    if not points:
        return 0.0
    import moocore

    return float(moocore.hypervolume([list(point) for point in points], ref=[0, 0], maximise=True))


def front(points: Sequence[Trade]) -> list[Trade]:
    """Those that no other beats, from the one that kept most to the one that forgot most, each once."""
    unbeaten: list[Trade] = []
    for point in sorted(set(points), key=lambda p: (p.retained, p.forgotten), reverse=True):
        if not unbeaten or point.forgotten > unbeaten[-1].forgotten:
            unbeaten.append(point)
    return sorted(unbeaten)
