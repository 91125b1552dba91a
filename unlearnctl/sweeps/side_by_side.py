"""Train the members of a multirun: one alone, or groups side by side in one process, and note how each went."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import DictConfig
from pydantic import PositiveInt

from unlearnctl.config.instantiate import plain
from unlearnctl.distributed.settings import read_launch
from unlearnctl.runs.directory import run_directory
from unlearnctl.sweeps.status import Status, attempt, end, locked, start
from unlearnctl.sweeps.together import groups, run_together
from unlearnctl.unlearning.resume import can_resume, config_to_resume, ended
from unlearnctl.unlearning.session import run
from unlearnctl.unlearning.setup import Setup, make_setup, show_dry_run
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.validate import check_value

Train = Callable[[DictConfig, Path | None], Path | None]  # `commands.train.train`


def member(cfg: DictConfig, train: Train) -> Path | None:
    """Train one member by itself, and note in its status.json how it went.

    Raises:
        UserError: as `train` does.
    """
    if cfg.launch.dry_run:
        return train(cfg, None)
    directory = run_directory(cfg, "train")
    cut = _was_cut(directory)
    with attempt(directory, resumes=cut):
        if not cut:
            return train(cfg, None)
        again = config_to_resume(directory)
        return train(again, directory) if again is not None else directory


def _was_cut(directory: Path) -> bool:
    """Tell whether a member left something to resume, or has ended and its status could not be written."""
    return can_resume(directory) or ended(directory) is not None


def sweep(
    verb: str, members: int, configs: Sequence[DictConfig], train: Train, failed: Callable[[Exception], None]
) -> None:
    """Check every member, then train group after group; `failed` gets each error, and the others continue.

    Raises:
        UserError: another verb than train, or a wrong number of members.
    """
    if verb != "train":
        raise UserError(f"hydra/launcher=side_by_side: for `unlearnctl train -m` only, not {verb}")
    check_value("hydra.launcher.members", members, PositiveInt)
    with ExitStack() as held:
        side = SideBySide(failed, held)
        cut = [not cfg.launch.dry_run and _was_cut(run_directory(cfg, "train")) for cfg in configs]
        # Every config is checked before the first member trains, so that a mistake in the last one does not show hours
        # later.
        setups = []
        for cfg, is_cut in zip(configs, cut, strict=True):
            if not is_cut and (setup := side.prepare(cfg)):
                setups.append(setup)
        for group in groups(setups, members):
            if len(group) > 1:
                print(f"side by side: {', '.join(setup.directory.name for setup in group)}")
            side.train(group)
    for cfg, is_cut in zip(configs, cut, strict=True):
        if is_cut:  # each continues from a step of its own, so these run one by one
            try:
                member(cfg, train)
            except Exception as error:
                failed(error)


@dataclass
class SideBySide:
    """Keeps the status files of members that are prepared first and trained later, several at once."""

    failed: Callable[[Exception], None]
    held: ExitStack
    started: dict[Path, tuple[Status, float]] = field(default_factory=dict)

    def prepare(self, cfg: DictConfig) -> Setup | None:
        """Set one member up; None after a dry run, or if it cannot be, which is noted."""
        try:
            launch = read_launch(plain(cfg.launch), cfg.trainer.device)
            if launch.dry_run:
                show_dry_run(cfg, launch.num_processes)
                return None
            directory = run_directory(cfg, "train")
            self.held.enter_context(locked(directory, f"member {directory.name}"))
            self.started[directory] = start(directory)
        except Exception as error:
            self.failed(error)
            return None
        try:
            return self._setup(cfg)
        except BaseException as error:
            self.end(directory, error)
            return None

    @staticmethod
    def _setup(cfg: DictConfig) -> Setup:
        launch = read_launch(plain(cfg.launch), cfg.trainer.device)
        if launch.starts_workers:
            raise UserError(f"launch={launch.name}: runs side by side share one process; use launch=single")
        return make_setup(cfg)

    def train(self, group: Sequence[Setup]) -> None:
        """Train a group; where that fails, each of it by itself, so that the one at fault costs only itself."""
        if len(group) == 1:
            self._alone(group[0])
            return
        try:
            run_together(group, lambda setup, error: self.end(setup.directory, error))
        except BaseException as error:
            left = [setup for setup in group if setup.directory in self.started]
            if not isinstance(error, Exception):
                for setup in left:
                    self._note(setup.directory, error)
                raise
            print(f"side by side: {type(error).__name__} in this group; its members train one by one")
            # Trained alone, each member has all of the memory, and an error stops only its own run.
            for setup in left:
                self._again(setup)

    def _alone(self, setup: Setup) -> None:
        try:
            run(setup)
        except BaseException as error:
            self.end(setup.directory, error)
        else:
            self.end(setup.directory, None)

    def _again(self, setup: Setup) -> None:
        self.started[setup.directory] = start(setup.directory)
        try:
            fresh = self._setup(setup.cfg)  # the objective of the first attempt has been trained
        except BaseException as error:
            self.end(setup.directory, error)
        else:
            self._alone(fresh)

    def end(self, directory: Path, error: BaseException | None) -> None:
        """Note how a member ended; an interruption, and what is no ordinary error, stops the sweep."""
        status = self._note(directory, error)
        if isinstance(error, Exception):
            self.failed(error)
        elif error is not None or status.state == "interrupted":
            raise error or KeyboardInterrupt

    def _note(self, directory: Path, error: BaseException | None) -> Status:
        return end(directory, self.started.pop(directory), error)
