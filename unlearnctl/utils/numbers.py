"""How numbers are written, the same in every table: shares with three decimals, perplexities with two."""

from __future__ import annotations

import math
from collections.abc import Mapping

from unlearnctl.utils.errors import plain

MISSING = "–"
Z95 = 1.96
ASCII = str.maketrans(
    {"–": "-", "−": "-", "±": "+-", "↓": "v", "↑": "^", "✓": "+", "✗": "!", "≈": "=", "→": "->", "●": "*"}
)


LARGEST = 1e100  # beyond it a sum, a square or a scale may overflow; no measurement is there


def finite(value: object) -> float | None:
    """`value` as a float when it is an ordinary number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -LARGEST <= value <= LARGEST else None


def is_perplexity(metric: str) -> bool:
    """Perplexities and the like: unbounded, hence their own axis and fewer decimals."""
    return any(word in metric.lower() for word in ("ppl", "perplexity"))


def decimals(metric: str) -> int:
    """Decimals for a value of this metric, its error and its change alike."""
    return 2 if is_perplexity(metric) else 3


def value(number: float | None, metric: str = "") -> str:
    """`0.267`, `12.35`, `nan`; a dash where there is nothing."""
    return MISSING if number is None else f"{number:.{decimals(metric)}f}"


def with_error(number: float | None, half: float | None, metric: str = "") -> str:
    """`0.267 ± 0.051`: half of the 95 % interval, with the precision of the value."""
    if finite(number) is None or finite(half) is None:
        return value(number, metric)
    return f"{value(number, metric)} ± {value(half, metric)}"


def change(number: float | None, metric: str = "") -> str:
    """`-0.711`, `+0.02`; zero carries no sign."""
    if number is None:
        return MISSING
    text = f"{number:+.{decimals(metric)}f}"
    return text[1:] if math.isfinite(number) and float(text) == 0 else text


def cut(text: object, length: int = 60) -> str:
    """`plain`, and no longer than `length`: for error lines that quote a file."""
    shown = plain(str(text)[: length + 1])
    return shown if len(shown) <= length else f"{shown[:length]}…"


def setting(entry: object) -> str:
    """A config value in a table cell: `1e-05` stays as short as it was typed, null is spelled out."""
    if entry is None:
        return "null"
    if isinstance(entry, bool):
        return str(entry).lower()
    if isinstance(entry, float):
        return f"{entry:g}"
    if isinstance(entry, list | tuple):
        return f"[{', '.join(setting(item) for item in entry)}]"
    return plain(entry)


def flatten(tree: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """`{"a": {"b": 1}}` → `{"a.b": 1}`. Lists are values: a sweep over lists differs as a whole."""
    flat: dict[str, object] = {}
    for key, entry in tree.items():
        if isinstance(entry, Mapping) and entry:
            flat |= flatten(entry, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = entry
    return flat
