"""Pack the data of the page: what runs share is stored once, and what does not fit is counted instead."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

PAGE = 2_400_000  # bytes, about, of a page of many runs, without what the script of the table needs
LEAST = 700_000  # bytes of it for details of single runs, however large the table is
CELL = 85  # bytes, about, of a cell of the table
POINT = 7  # bytes, about, of a point of a curve
POINTS = 120  # at most in one curve
FEWEST = 4
T = TypeVar("T")
Line = Sequence[tuple[float, float]]


class Once(Generic[T]):
    """A list that stores each thing once; others refer to it by its place."""

    def __init__(self) -> None:
        self.all: list[T] = []  # in the order of their places
        self._places: dict[T, int] = {}

    def place(self, thing: T) -> int:
        """Return the place of a thing in `all`."""
        if thing not in self._places:
            self._places[thing] = len(self.all)
            self.all.append(thing)
        return self._places[thing]

    def forget(self, known: int) -> None:
        """Remove all but the first `known` things."""
        for thing in self.all[known:]:
            del self._places[thing]
        del self.all[known:]


def shared(column: Sequence[T]) -> T | list[T]:
    """Return one entry for all runs if they agree, otherwise one for each."""
    agree = bool(column) and all(entry == column[0] for entry in column)
    return column[0] if agree else list(column)


def coded(column: Sequence[str]) -> list[Any]:
    """Return the distinct texts of a column and, for each run, the place of its own."""
    texts: Once[str] = Once()
    places = [texts.place(text) for text in column]
    return [texts.all, shared(places)]


def room(cells: int) -> int:
    """Return the bytes for details of single runs, beside a table with so many cells."""
    return max(LEAST, PAGE - CELL * cells)


def fitting(found: Mapping[int, T], pack: Callable[[T], Any], once: Once[Any], most: int) -> dict[int, Any]:
    """Keep the parts of runs, in order, that fit into `most` bytes together with what they add to `once`."""
    kept = {}
    for place, part in found.items():
        known = len(once.all)
        packed = pack(part)
        most -= size(packed) + size(once.all[known:])
        if most < 0:
            once.forget(known)
            break
        kept[place] = packed
    return kept


def size(part: Any) -> int:
    """Estimate the bytes of a part in the page; text may need escaping."""
    return len(json.dumps(part, separators=(",", ":")))


def points_each(lengths: Iterable[int], most: int) -> int:
    """Return how many points each curve may have if all curves together are to take about `most` bytes."""
    counts, low, high = list(lengths), FEWEST, POINTS
    while low < high:
        middle = (low + high + 1) // 2
        if POINT * sum(min(count, middle) for count in counts) <= most:
            low = middle
        else:
            high = middle - 1
    return low


def curve(line: Line, grids: Once[tuple[float, ...]]) -> list[float]:
    """Store a curve as the place of its steps, which many curves share, and its heights: one if all are equal."""
    heights = [short(y, 5) for _, y in line]
    flat = all(height == heights[0] for height in heights)
    return [grids.place(tuple(short(x, 7) for x, _ in line)), *(heights[:1] if flat else heights)]


def short(number: float, digits: int) -> float:
    """Round a number, and write an integer as one, because it takes fewer bytes."""
    rounded = float(f"{number:.{digits}g}")
    return int(rounded) if abs(rounded) < 1e15 and rounded.is_integer() else rounded
