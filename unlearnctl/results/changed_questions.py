"""Pick questions for people to read: some that a run made the model forget, and some that it still answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from unlearnctl.results.metric import Metric, Scores

MOST = 10  # of each kind


def changed_questions(before: Scores, after: Scores) -> dict[str, list[dict[str, Any]]]:
    """List up to ten `forgotten` and ten `kept` questions with the replies before and after; empty if there are none.

    Forgotten: of a forget metric, right before and wrong after. Kept: of a retain metric, right both times. Only
    questions with a reply are known (the first ones of each metric).
    """
    found: dict[str, list[dict[str, Any]]] = {"forgotten": [], "kept": []}
    for suite, metrics in after.items():
        for name, now in metrics.items():
            was, kind = before.get(suite, {}).get(name), "forgotten" if now.role == "forget" else "kept"
            for entry in _picked(was, now) if was is not None else ():
                if len(found[kind]) < MOST:
                    found[kind].append({"suite": suite, "metric": name, **entry})
    return found if any(found.values()) else {}


def _picked(was: Metric, now: Metric) -> Iterator[dict[str, Any]]:
    wanted = (1.0, 0.0) if now.role == "forget" else (1.0, 1.0)
    columns = (was.items or (), now.items or (), was.samples or (), now.samples or ())
    for old, new, first, then in zip(*columns, strict=False):  # not every item has a reply
        if then.expected is not None and first.prompt == then.prompt and (old, new) == wanted:
            yield {
                "question": then.prompt,
                "expected": then.expected,
                "before": first.reply,
                "after": then.reply,
            }
