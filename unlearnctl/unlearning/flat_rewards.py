"""Find that `trainer=meta` had nothing to learn from, and say what to turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unlearnctl.unlearning.no_effect import Flag, faster
from unlearnctl.utils.numbers import Z95

FLAT = 0.01  # of hypervolume, which is 0 to 1: settings that differ by less are alike


def flat_rewards(rows: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> list[Flag]:
    """List the flag `flat_rewards` of a run whose actions were rewarded; empty for other runs.

    Either even the best hypervolume is within its own noise (1.96 standard errors over items, or `FLAT` if that is
    more), so that every reward may be chance; or the episodes of a search differ by less than `FLAT`.

    Args:
        rows: of metrics.jsonl.
        config: of the run.
    """
    acts = [row for row in rows if row.get("kind") in ("meta", "episode") and "hypervolume" in row]
    if len(acts) < 2:
        return []
    volumes = [row["hypervolume"] or 0.0 for row in acts]  # null: it was not finite
    best = max(volumes)
    noise = max(FLAT, Z95 * (acts[volumes.index(best)].get("noise") or 0.0))
    if best < noise:
        what, value, bound, advice = "best hypervolume", best, noise, _more_effect(acts, config["trainer"])
    else:
        start = min(volumes) if acts[0]["kind"] == "episode" else 0.0  # an online run begins without reward
        what, value, bound = "differences of hypervolume", best - start, FLAT
        advice = _more_difference(config["trainer"]["meta"])
    metric = f"{what} in {len(acts)} actions"
    entry = {"name": "flat_rewards", "metric": metric, "value": value, "bound": bound}
    return [{**entry, "raised": value < bound, "advice": advice}]


def _more_effect(acts: Sequence[Mapping[str, Any]], trainer: Mapping[str, Any]) -> str:
    meta = trainer["meta"]
    points = [(row["forgotten"] or 0.0, row["retained"] or 0.0) for row in acts]
    if max(forgotten * retained for forgotten, retained in points) > FLAT and any(meta["reference_point"]):
        return f"lower trainer.meta.reference_point={meta['reference_point']}"
    if max(retained for _, retained in points) < FLAT:
        return f"nothing was retained; {faster(trainer).replace('raise', 'lower')}"
    online = meta["mode"] == "online"
    length = f"steps={trainer['steps']}" if online else f"meta.episode_steps={meta['episode_steps']}"
    finer = "" if meta.get("reward") == "texts" else "set trainer.meta.reward=texts, which is finer; or "
    return f"{finer}{faster(trainer)} or trainer.{length}"


def _more_difference(meta: Mapping[str, Any]) -> str:
    return f"raise trainer.meta.factor={meta['factor']} or name other numbers in trainer.meta.knobs={meta['knobs']}"
