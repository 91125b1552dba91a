"""A dry run of a sweep: one plan, what the members differ in, and each of their values checked once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from unlearnctl.sweeps.members import common_overrides
from unlearnctl.utils.numbers import cut

SHOWN = 20  # members
WIDTH = 80

Overrides = Sequence[str]


def covering(members: Sequence[Overrides]) -> list[Overrides]:
    """Members, the first one aside, that hold together every value that it does not."""
    seen = set(members[0]) if members else set()
    chosen = []
    for overrides in members[1:]:
        if not seen.issuperset(overrides):
            chosen.append(overrides)
            seen.update(overrides)
    return chosen


def lines(members: Sequence[Overrides], checked: int) -> Iterator[str]:
    """What is said below the plan of the first member; each line fits into 80 columns."""
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
