"""Turn the knobs as an earlier run did."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from unlearnctl.objectives.base import Objective
from unlearnctl.training.meta.knobs import turn
from unlearnctl.training.meta.policy import Action
from unlearnctl.training.meta.settings import MetaSettings
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.safe_json import loads


class Replay:
    """Turns the knobs as an earlier run did, step for step; nothing is measured and nothing learned."""

    def __init__(self, objective: Objective, settings: MetaSettings, schedule: Mapping[int, Action]) -> None:
        self.objective, self.choices, self.schedule = objective, settings.choices(), schedule
        self.after_step(0)

    def after_step(self, step: int) -> None:
        """Set what the schedule holds for the next step."""
        if step in self.schedule:
            turn(self.objective, self.schedule[step], self.choices)


def read_schedule(folder: Path) -> dict[int, Action]:
    """Read the action that was set after each step from a run's metrics.jsonl.

    Raises:
        UserError: the run has none.
    """
    key = f"trainer.meta.replay={folder}"
    try:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [loads(line) for line in lines]
        found = {r["step"]: Action(r["knobs"], r["choice"]) for r in rows if r.get("kind") == "meta"}
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{key}: no readable metrics.jsonl with a schedule ({type(error).__name__})"
        ) from None
    if not found:
        raise UserError(f"{key}: that run has no learned schedule; it was no run with trainer=meta")
    return found
