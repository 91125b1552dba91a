"""Compute how much an attack brought back, and which of its variants was the worst."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

from unlearnctl.attacks.base import Scores, Variant
from unlearnctl.results.metric import Metric
from unlearnctl.results.record import scores_to_json


def recovery(base: Scores, unlearned: Scores, attacked: Scores) -> float | None:
    """Return the mean over forget metrics of (attacked − unlearned)/(base − unlearned): 0 is nothing, 1 is everything.

    Metrics that unlearning did not improve are left out; None if no metric is left. The value is not clipped.
    """
    shares = []
    for suite, name, now in forgotten(attacked):
        was, gone = (scores.get(suite, {}).get(name) for scores in (base, unlearned))
        if was is None or gone is None:
            continue
        gap = was.value - gone.value
        if (gap > 0) == (now.goal == "lower") and gap:
            shares.append((now.value - gone.value) / gap)
    return fmean(shares) if shares else None


def above_chance(base: Scores, attacked: Scores) -> float | None:
    """Return the mean of (attacked − chance)/(base − chance), for scores that have no unlearned value to compare with.

    None if the base itself is not clearly above chance (its 95 % interval includes chance).
    """
    pairs = [(now, base[suite][name]) for suite, name, now in forgotten(attacked)]
    shares = [
        (now.value - (now.chance or 0.0)) / (was.value - (was.chance or 0.0))
        for now, was in pairs
        if (was.interval[0] if was.interval else was.value) > (was.chance or 0.0)
    ]
    return fmean(shares) if shares else None


def forgotten(scores: Scores) -> Iterator[tuple[str, str, Metric]]:
    """Yield (suite, name, metric) for what should be forgotten."""
    for suite, metrics in scores.items():
        for name, metric in metrics.items():
            if metric.role == "forget":
                yield suite, name, metric


def row(
    attack: str, variant: Variant, scores: Scores, base: Scores | None, unlearned: Scores
) -> dict[str, Any]:
    """Return one line of the robustness table, as in results.json."""
    if variant.scores is not None:
        share = above_chance(variant.base, scores) if variant.base is not None else None
    else:
        share = recovery(base, unlearned, scores) if base is not None else None
    return {
        "attack": attack,
        "variant": variant.label,
        "settings": dict(variant.settings),
        "scores": scores_to_json(scores),
        **({"base": scores_to_json(variant.base)} if variant.base is not None else {}),
        "recovery": share,
        "worst": False,
    }


def mark_worst(rows: Sequence[dict[str, Any]]) -> None:
    """Set `worst` on one row of each attack: the largest recovery or, without a base, the largest forget score.

    Scores that the attack measured itself also use the forget score: if its base is low, a large share of it is noise.
    """
    for attack in dict.fromkeys(r["attack"] for r in rows):
        mine = [r for r in rows if r["attack"] == attack]
        max(mine, key=_badness)["worst"] = True


def _badness(entry: dict[str, Any]) -> float:
    if entry["recovery"] is not None and "base" not in entry:
        return float(entry["recovery"])
    found = [m for metrics in entry["scores"].values() for m in metrics.values() if m["role"] == "forget"]
    signs = [m["value"] * (1 if m["goal"] == "lower" else -1) for m in found if m["value"] is not None]
    return fmean(signs) if signs else float("-inf")
