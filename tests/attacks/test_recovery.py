"""Shares of what came back, by hand."""

from __future__ import annotations

import pytest

from unlearnctl.attacks.base import Variant
from unlearnctl.attacks.recovery import above_chance, mark_worst, recovery, row
from unlearnctl.results.metric import Metric


def forget(value: float, goal: str = "lower") -> Metric:
    low = (value - 0.1, value + 0.1)
    return Metric(value, 0.05, 100, 0.25, "forget", goal, low)


def scores(**values: float) -> dict:
    return {
        "s": {
            **{k: forget(v) for k, v in values.items()},
            "kept": Metric(0.9, 0.0, 9, 0.25, "retain", "higher"),
        }
    }


def test_share_of_what_was_forgotten() -> None:
    base, unlearned = scores(a=1.0, b=0.8), scores(a=0.5, b=0.4)
    assert recovery(base, unlearned, unlearned) == 0
    assert recovery(base, unlearned, base) == pytest.approx(1)
    assert recovery(base, unlearned, scores(a=0.75, b=0.4)) == pytest.approx((0.5 + 0) / 2)
    assert recovery(base, unlearned, scores(a=0.25, b=0.4)) == pytest.approx(-0.25)


def test_what_was_not_forgotten_does_not_count() -> None:
    assert recovery(scores(a=1.0, b=0.5), scores(a=0.5, b=0.5), scores(a=0.6, b=0.9)) == pytest.approx(0.2)
    assert recovery(scores(a=0.5), scores(a=0.6), scores(a=0.9)) is None
    assert recovery({}, {}, scores(a=0.9)) is None


def test_above_chance() -> None:
    assert above_chance(scores(a=0.75), scores(a=0.5)) == pytest.approx(0.5)
    assert above_chance(scores(a=0.3), scores(a=0.5)) is None  # the base's own interval reaches chance


def test_the_worst_of_each_attack() -> None:
    base, unlearned = scores(a=1.0), scores(a=0.4)

    def made(attack: str, value: float, known: dict | None = base) -> dict:
        return row(attack, Variant("v", {}), scores(a=value), known, unlearned)

    rows = [made("x", 0.4), made("x", 0.7), made("y", 0.5)]
    mark_worst(rows)
    assert [r["worst"] for r in rows] == [False, True, True]
    assert [r["recovery"] for r in rows] == pytest.approx([0, 0.5, 1 / 6])
    unknown = [made("x", 0.6, None), made("x", 0.5, None)]
    mark_worst(unknown)
    assert [(r["worst"], r["recovery"]) for r in unknown] == [(True, None), (False, None)]


def test_the_worst_probe_is_the_most_accurate_not_the_largest_share_of_little() -> None:
    pairs = ((0.36, 0.38), (0.5, 1.0))  # of the untouched model's: nearly all, and a third
    variants = [Variant("probe", {}, {}, scores(a=now), scores(a=base)) for now, base in pairs]
    rows = [row("latent", v, v.scores or {}, None, {}) for v in variants]
    mark_worst(rows)
    assert rows[0]["recovery"] > rows[1]["recovery"]
    assert [r["worst"] for r in rows] == [False, True]
