"""Register the sweeper of `unlearnctl train -m` where Hydra looks for plugins. The work is in unlearnctl/sweeps/."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction

    from unlearnctl.sweeps.members import Member


class Members(BasicSweeper):
    """Name each of Hydra's combinations by the hash of its config, and run those that are not done yet.

    The chosen launcher runs them. Meanwhile, a table shows the status files.

    Args:
        resume: continue a sweep whose directory exists.
    """

    def __init__(self, max_batch_size: int | None, params: dict[str, str] | None, resume: bool) -> None:
        super().__init__(max_batch_size, params)
        self.resume = resume

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands over."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.task = task_function

    def sweep(self, arguments: list[str]) -> Any:
        """Compose all members, so that a wrong override is found before anything runs; then launch what is not done."""
        assert self.config is not None
        if self.config.launch.dry_run:
            return self._plan(arguments)
        from unlearnctl.sweeps.board import Board
        from unlearnctl.sweeps.members import by_directory, claim, plan
        from unlearnctl.sweeps.status import locked

        members = self._members(arguments)
        folder, run = Path(self.config.hydra.sweep.dir), str(self.config.run)
        with locked(folder, f"run={run}"):
            claim(folder, run, arguments, self.resume)
            left = plan(members)
            if len(left) < len(members):
                elsewhere = sum(m.status.state != "done" for m in by_directory(members)) - len(left)
                print(
                    f"members: {len(members) - len(left) - elsewhere} of {len(members)} already done, "
                    f"{f'{elsewhere} running in another process, ' if elsewhere else ''}{len(left)} to run"
                )
            try:
                with Board(by_directory(members)):
                    returns = self._launch([members[place].overrides for place in left])
            except KeyboardInterrupt:
                print(f"resume it: unlearnctl train --resume {folder}", file=sys.stderr)
                raise
        # launchers in other processes return no error; the status files have it
        self.task.unfinished = [m for m in by_directory(members) if m.status.state != "done"]  # type: ignore[attr-defined]
        return [returns]

    def _plan(self, arguments: Sequence[str]) -> list[Any]:
        """Print the first member's plan and how the others differ, and check every value in at least one member."""
        from unlearnctl.sweeps.dry import covering, lines

        members = self._overrides(arguments)
        returns = [self._launch([list(members[0])])]
        others = covering(members)
        with redirect_stdout(StringIO()):
            returns += [self._launch([list(overrides)]) for overrides in others]
        if len(members) > 1:
            print("\n".join(lines(members, 1 + len(others))))
        return returns

    def _overrides(self, arguments: Sequence[str]) -> list[list[str]]:
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        parsed = parser.parse_overrides([*self._parse_config(), *arguments])
        return [list(overrides) for overrides in self.split_arguments(parsed, None)[0]]

    def _members(self, arguments: Sequence[str]) -> list[Member]:
        from unlearnctl.runs.directory import config_hash
        from unlearnctl.sweeps.members import Member

        assert self.hydra_context is not None
        assert self.config is not None
        loader = self.hydra_context.config_loader
        folder, found = Path(self.config.hydra.sweep.dir), []
        for overrides in self._overrides(arguments):
            composed = loader.load_sweep_config(self.config, overrides)
            found.append(Member(folder / config_hash(composed), overrides))
        return found

    def _launch(self, batch: list[list[str]]) -> list[Any]:
        assert self.launcher is not None
        size = self.max_batch_size or len(batch) or 1
        done: list[Any] = []
        for first in range(0, len(batch), size):
            for result in self.launcher.launch(batch[first : first + size], initial_job_idx=first):
                result.return_value  # noqa: B018  raises the launcher's own error
                done.append(result)
        return done
