"""Members of a multirun: one alone, or those that share a frozen prefix side by side in one process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import DictConfig

from unlearnctl.config.instantiate import plain
from unlearnctl.runs.directory import run_directory
from unlearnctl.sweeps.status import Status, attempt, end, locked, start
from unlearnctl.unlearning.resume import can_resume, ended, resume
from unlearnctl.unlearning.session import Run
from unlearnctl.unlearning.train import make_run, train, train_together
from unlearnctl.utils.errors import UserError

SHARED = ("mixed_precision", "gradient_checkpointing", "device")  # of cfg.trainer


def member(cfg: DictConfig) -> Path | None:
    """Train one member by itself, and note in its status.json how it went.

    Raises:
        UserError: as `train` does.
    """
    if cfg.launch.dry_run:
        return train(cfg)
    directory = run_directory(cfg, "train")
    going_on = _resume_of(directory)
    with attempt(directory, goes_on=going_on is not None):
        return going_on() if going_on else train(cfg)


def _resume_of(directory: Path) -> Callable[[], Path | None] | None:
    """What finishes a member that was cut, if it left something to go on from."""
    there = can_resume(directory) or ended(directory)  # ended, but its status could not be written
    return (lambda: resume(directory)) if there else None


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
    with ExitStack() as held:
        side = SideBySide(failed, held)
        cut = [not cfg.launch.dry_run and bool(_resume_of(run_directory(cfg, "train"))) for cfg in configs]
        ready = [
            run for cfg, is_cut in zip(configs, cut, strict=True) if not is_cut and (run := side.ready(cfg))
        ]
        for group in groups(ready, members):
            if len(group) > 1:
                print(f"side by side: {', '.join(run.directory.name for run in group)}")
            side.train(group)
    for cfg, is_cut in zip(configs, cut, strict=True):
        if is_cut:  # each goes on from a step of its own
            try:
                member(cfg)
            except Exception as error:
                failed(error)


@dataclass
class SideBySide:
    """Keeps the status files of members that are prepared first and trained later, several at once."""

    failed: Callable[[Exception], None]
    held: ExitStack
    started: dict[Path, tuple[Status, float]] = field(default_factory=dict)

    def ready(self, cfg: DictConfig) -> Run | None:
        """Prepare one member; None if it cannot be, which is noted, or is but planned."""
        try:
            if cfg.launch.dry_run:
                return make_run(cfg)
            directory = run_directory(cfg, "train")
            self.held.enter_context(locked(directory, f"member {directory.name}"))
            self.started[directory] = start(directory)
        except Exception as error:
            self.failed(error)
            return None
        try:
            return make_run(cfg)
        except BaseException as error:
            self.end(directory, error)
            return None

    def train(self, group: Sequence[Run]) -> None:
        """Train a group; where that fails, each of it by itself, so that the one at fault costs only itself."""
        try:
            train_together(group, lambda run, error: self.end(run.directory, error))
        except BaseException as error:
            left = [run for run in group if run.directory in self.started]
            if len(group) == 1 or not isinstance(error, Exception):
                for run in left:
                    self.end(run.directory, error, tell=run is left[-1])
                return
            print(f"side by side: {type(error).__name__} in this group; its members train one by one")
            for run in left:
                self._again(run)

    def _again(self, run: Run) -> None:
        self.started[run.directory] = start(run.directory)
        try:
            fresh = make_run(run.cfg)
        except BaseException as error:
            self.end(run.directory, error)
            return
        if fresh:
            self.train([fresh])

    def end(self, directory: Path, error: BaseException | None, tell: bool = True) -> None:
        """Note how a member ended; what is no ordinary error stops the sweep."""
        status = end(directory, self.started.pop(directory), error)
        if isinstance(error, Exception) and tell:
            self.failed(error)
        elif (error is not None and tell) or status.state == "interrupted":
            raise error or KeyboardInterrupt


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
    how = [cfg["trainer"][key] for key in SHARED]
    return json.dumps([cfg["model"], cfg["data"], run.ready.lowest, run.ready.trunk, how], sort_keys=True)
