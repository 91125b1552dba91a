"""Find that a run did nothing, and say what to turn: it may end without an error and have forgotten nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

BOUNDS = {
    # Sigmoid losses (npo, simnpo, dpo) have gradients in proportion to the loss where it is small: at 1e-4, a
    # ten-thousandth of what there was to learn from.
    "saturated": 1e-4,
    # Below one half, the typical weight is what it was: the steps were smaller than its last place.
    "unmoved": 0.5,
    # Batches differ by more than that, and no run that forgot changed so little (docs/runlog.md, 2026-11-26).
    "flat": 0.01,
}
STEPS = 20  # a shorter run tries the machinery out

Flag = dict[str, Any]


def no_effect(
    rows: Sequence[Mapping[str, Any]], moved: float | None, config: Mapping[str, Any]
) -> list[Flag]:
    """List {name, metric, value, bound, raised, advice} for each sign that can be judged.

    `saturated`: the forget loss of the first step, if it is not negative and its row is there. `unmoved`: the share of
    trained weights that changed. `flat`: by how much the mean forget loss of the last fifth of the steps differs from
    that of the first, relative to the larger. Only the first of them is raised, because the others follow from it.

    Args:
        rows: of metrics.jsonl.
        moved: share of trained weights that changed, if it is known.
        config: of the run.
    """
    steps = [row for row in rows if row.get("kind") == "train" and "terms" in row]
    found: list[Flag] = []
    for name, metric, value, advice in _signs(steps, moved, config):
        raised = value < BOUNDS[name] and not any(flag["raised"] for flag in found)
        entry = {"name": name, "metric": metric, "value": value, "bound": BOUNDS[name]}
        found.append({**entry, "raised": raised, "advice": advice})
    return found


def _signs(
    steps: Sequence[Mapping[str, Any]], moved: float | None, config: Mapping[str, Any]
) -> Iterator[tuple[str, str, float, str]]:
    curves = _forget_curves([row["terms"] for row in steps])
    whole = (
        bool(steps) and steps[0].get("step") == 1
    )  # rows go with a directory that is removed during the run
    for name, values in curves.items():
        if whole and values[0] >= 0:
            yield "saturated", f"{name} at the first step", values[0], _less_saturated(config)
    if len(steps) < STEPS:
        return
    stronger = faster(config["trainer"])
    if moved is not None:
        half = config["model"].get("dtype") != "float32"
        lost = half and config["trainer"].get("master_weights", "none") == "none"
        advice = "set trainer.master_weights=auto" if lost else stronger
        yield "unmoved", "share of trained weights that changed", moved, advice
    for name, values in curves.items():
        longer = f"{stronger} or trainer.steps={config['trainer']['steps']}"
        yield "flat", f"relative change of {name}", _change(values), longer


def _forget_curves(terms: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Return the forget loss by step; with several topics, one curve for each."""
    curves: dict[str, list[float]] = {}
    for step in terms:
        for name, value in step.items():
            if name.rpartition("/")[2] == "forget":
                curves.setdefault(f"loss term {name}", []).append(value)
    return curves


def _change(values: Sequence[float]) -> float:
    fifth = max(1, len(values) // 5)
    first, last = sum(values[:fifth]) / fifth, sum(values[-fifth:]) / fifth
    return abs(last - first) / max(abs(first), abs(last), 1e-30)


def faster(trainer: Mapping[str, Any]) -> str:
    """Say which rate to raise, as the config gives it."""
    absolute, relative = trainer["optimizer"].get("lr"), trainer.get("relative_lr")
    if absolute is not None:
        return f"raise trainer.optimizer.lr={absolute}"
    return "raise trainer.relative_lr" + (" above its default" if relative is None else f"={relative}")


def _less_saturated(config: Mapping[str, Any]) -> str:
    objective = config["objective"]
    turns = [f"lower objective.beta={objective['beta']}"] if objective.get("beta") else []
    turns += [f"raise objective.gamma={objective['gamma']}"] if "gamma" in objective else []
    return " or ".join(turns) or "the model finds the forget texts unlikely already; try another objective"
