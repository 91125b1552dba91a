"""Plan a sweep without running it: one plan, how the members differ, and every value checked once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from unlearnctl.sweeps.members import common_overrides
from unlearnctl.utils.numbers import cut

SHOWN = 20  # members that are listed
WIDTH = 80

Overrides = Sequence[str]


def covering(members: Sequence[Overrides]) -> list[Overrides]:
    """Choose members that together have every value that the first one does not have."""
    seen = set(members[0]) if members else set()
    chosen = []
    for overrides in members[1:]:
        if not seen.issuperset(overrides):
            chosen.append(overrides)
            seen.update(overrides)
    return chosen


def lines(members: Sequence[Overrides], checked: int) -> Iterator[str]:
    """Yield what is printed below the plan of the first member, in at most 80 columns."""
    common = common_overrides(members)
    values: dict[str, dict[str, None]] = {}
    for overrides in members:
        for override in overrides:
            if override not in common:
                key, _, value = override.partition("=")
                values.setdefault(key, {})[value] = None
    yield f"{len(members)} members; the plan is that of the first. They differ in:"
    for key, found in values.items():
        yield _fit(f"  {key}={','.join(found)} ({len(found)} values)", f" ({len(found)} values)")
    for place, overrides in enumerate(members[:SHOWN], 1):
        yield _fit(f"{place:>5}  {' '.join(o for o in overrides if o not in common)}")
    if len(members) > SHOWN:
        yield f"       and {len(members) - SHOWN} more"
    yield f"checked: {checked} of {len(members)} members, which have every value of every setting"


def _fit(line: str, end: str = "") -> str:
    return line if len(line) <= WIDTH else cut(line.removesuffix(end), WIDTH - 1 - len(end)) + end
