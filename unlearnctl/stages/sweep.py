"""The members of a multirun in one process: those that share a frozen prefix train side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from omegaconf import DictConfig

from unlearnctl.errors import UserError
from unlearnctl.stages.build import plain
from unlearnctl.stages.run import Run
from unlearnctl.stages.train import make_run, train_together

T = TypeVar("T")
SHARED = ("mixed_precision", "gradient_checkpointing", "device")  # of cfg.trainer


def sweep(
    verb: str, members: int, configs: Sequence[DictConfig], failed: Callable[[Exception], None]
) -> None:
    """Check every member, then train group after group; `failed` gets each error, the others go on.

    Raises:
        UserError: another verb than train, or a wrong number of members.
    """
    if verb != "train":
        raise UserError(f"hydra/launcher=side_by_side: for `unlearnctl train -m` only, not {verb}")
    if not isinstance(members, int) or members < 1:
        raise UserError(f"hydra.launcher.members={members}: must be a whole number, 1 or more")

    def attempt(work: Callable[[], T]) -> T | None:
        try:
            return work()
        except Exception as error:
            failed(error)
            return None

    ready = [run for cfg in configs if (run := attempt(lambda cfg=cfg: make_run(cfg)))]  # type: ignore[misc]
    for group in groups(ready, members):
        if len(group) > 1:
            print(f"side by side: {', '.join(run.directory.name for run in group)}")
        attempt(lambda group=group: train_together(group, failed))  # type: ignore[misc]


def groups(runs: Sequence[Run], members: int) -> Iterator[list[Run]]:
    """Runs that may share weights and prefix passes, at most `members` at once, in their order."""
    by_key: dict[str, list[Run]] = {}
    for run in runs:
        by_key.setdefault(group_key(run), []).append(run)
    for group in by_key.values():
        group.sort(key=lambda run: (run.cfg.seed, run.cfg.trainer.global_batch))  # those whose batches agree
        for first in range(0, len(group), members):
            yield group[first : first + members]


def group_key(run: Run) -> str:
    """What members must agree on: the model, the data, the lowest block that trains, how blocks are run."""
    cfg = plain(run.cfg)
    cfg["model"].pop("recipe")
    how = [cfg["trainer"][key] for key in SHARED]
    return json.dumps([cfg["model"], cfg["data"], run.ready.lowest, run.ready.trunk, how], sort_keys=True)
