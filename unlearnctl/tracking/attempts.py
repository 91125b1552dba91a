"""Names on a dashboard: a sweep is a group, each try at a member a run of its own."""

from __future__ import annotations

from pathlib import Path

from unlearnctl.utils.safe_json import loads


def sweep_name(run_dir: Path) -> str | None:
    """Return the sweep that a run belongs to; None for a single run."""
    return run_dir.parent.name if (run_dir.parent / "sweep.json").is_file() else None


def attempt_name(run_dir: Path) -> str:
    """Return the run's name, numbered from its second attempt on: an offline run cannot be resumed."""
    number = attempt(run_dir)
    return run_dir.name if number == 1 else f"{run_dir.name}-try{number}"


def attempt(run_dir: Path) -> int:
    """Return the number of this attempt: as the sweep counts, else one more than the wandb runs already there."""
    try:
        return int(loads((run_dir / "status.json").read_text(encoding="utf-8"))["attempt"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return 1 + len(list((run_dir / "wandb").glob("*run-*")))
