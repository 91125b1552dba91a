"""Formats numbers, the same way in every table: shares with three decimals, perplexities with two."""

from __future__ import annotations

import math
from collections.abc import Mapping

from unlearnctl.utils.errors import plain

MISSING = "–"
Z95 = 1.96
ASCII = str.maketrans(
    {"–": "-", "−": "-", "±": "+-", "↓": "v", "↑": "^", "✓": "+", "✗": "!", "≈": "=", "→": "->", "●": "*"}
)
LARGEST = 1e100  # beyond it a sum, a square or a scale may overflow; no measurement is that large


def finite(value: object) -> float | None:
    """Return `value` as a float if it is an ordinary number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -LARGEST <= value <= LARGEST else None


def is_perplexity(metric: str) -> bool:
    """Return whether a metric is a perplexity: unbounded, hence its own axis and fewer decimals."""
    return any(word in metric.lower() for word in ("ppl", "perplexity"))


def unit(metric: str) -> str:
    """Return what a metric is measured in, which decides its axis: `share`, `perplexity`, or `nats` (`*_logp`)."""
    if is_perplexity(metric):
        return "perplexity"
    return "nats" if metric.endswith("logp") else "share"


def is_share(metric: str) -> bool:
    """Return whether a metric is at home between 0 and 1."""
    return unit(metric) == "share"


def decimals(metric: str) -> int:
    """Return the number of decimals for a value of this metric, and for its error and its change."""
    return 2 if is_perplexity(metric) else 3


def value(number: float | None, metric: str = "") -> str:
    """Format a value: `0.267`, `12.35`, `nan`; a dash if there is none."""
    return MISSING if number is None else f"{number:.{decimals(metric)}f}"


def with_error(number: float | None, half: float | None, metric: str = "") -> str:
    """Format a value with half its 95 % interval, at the same precision: `0.267 ± 0.051`."""
    if finite(number) is None or finite(half) is None:
        return value(number, metric)
    return f"{value(number, metric)} ± {value(half, metric)}"


def change(number: float | None, metric: str = "") -> str:
    """Format a change with its sign, `-0.711` or `+0.02`; zero has none."""
    if number is None:
        return MISSING
    text = f"{number:+.{decimals(metric)}f}"
    return text[1:] if math.isfinite(number) and float(text) == 0 else text


def cut(text: object, length: int = 60) -> str:
    """Apply `plain`, and cut at `length`: for error lines that quote a file."""
    shown = plain(str(text)[: length + 1])
    return shown if len(shown) <= length else f"{shown[:length]}…"


def setting(entry: object) -> str:
    """Format a config value for a table: `1e-05` stays as short as it was typed, null is spelled out."""
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
    """Flatten `{"a": {"b": 1}}` to `{"a.b": 1}`. Lists are values, since a sweep over lists varies them as a whole."""
    flat: dict[str, object] = {}
    for key, entry in tree.items():
        if isinstance(entry, Mapping) and entry:
            flat |= flatten(entry, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = entry
    return flat
