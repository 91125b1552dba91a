"""Read and turn what a learner acts on (an objective's numbers and its layers), and score the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from unlearnctl.objectives.base import Objective
from unlearnctl.objectives.protocols import choosing_layers
from unlearnctl.training.meta.policy import Action, Policy
from unlearnctl.training.meta.settings import MetaSettings
from unlearnctl.utils.errors import UserError, unknown

Log = Callable[[dict[str, Any]], None]


def knob_values(objective: Objective, names: Sequence[str]) -> dict[str, float]:
    """Return the objective's own values of its knobs.

    Raises:
        UserError: a name that is no positive number of the objective.
    """
    return {name: _knob(objective, name) for name in names}


def _knob(objective: Objective, name: str) -> float:
    numbers = [
        k for k, v in vars(objective).items() if isinstance(v, float | int) and not isinstance(v, bool)
    ]
    try:
        value = attrgetter(name)(objective)
    except AttributeError:
        raise unknown("trainer.meta.knobs", name, [k for k in numbers if not k.startswith("_")]) from None
    positive = isinstance(value, float | int) and value > 0
    if not positive:
        raise UserError(
            f"trainer.meta.knobs={name}: must be a positive number of the objective; it is {value}"
        )
    return float(value)


def turn(objective: Objective, action: Action, choices: Sequence[tuple[int, ...]]) -> None:
    """Set the knobs, and the layers that are read."""
    for name, value in action.knobs.items():
        owner, _, leaf = name.rpartition(".")
        setattr(attrgetter(owner)(objective) if owner else objective, leaf, value)
    if action.choice is not None:
        choosing_layers(objective).read_at(choices[action.choice])


def make_policy(objective: Objective, settings: MetaSettings, seed: int) -> Policy:
    """Make a policy centred on the objective's own values; mode=random draws from the whole range, without updates."""
    s, starts = settings, knob_values(objective, settings.knobs)
    return Policy(starts, s.factor, len(s.choices()), s.lr, s.spread, s.entropy, s.decay, seed)


def hypervolume(forgotten: float, retained: float, reference: Sequence[float]) -> float:
    """Return the area that a point of the (forgotten, retained) plane dominates above the reference point."""
    return max(0.0, forgotten - reference[0]) * max(0.0, retained - reference[1])
