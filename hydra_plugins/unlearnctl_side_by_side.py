"""Register `hydra/launcher=side_by_side` where Hydra looks. The work is in unlearnctl/sweeps/side_by_side.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.utils import JobReturn, run_job
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, open_dict

from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction


class SideBySide(Launcher):
    """Hand all members of a multirun to the task at once, so that it can train them in groups.

    Args:
        members: how many may train at the same time.
    """

    def __init__(self, members: int) -> None:
        if not isinstance(members, int) or members < 1:
            raise UserError(f"hydra.launcher.members={members}: must be a whole number, 1 or more")
        self.members = members

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands over."""
        verb = getattr(task_function, "verb", "train")
        if verb != "train":
            raise UserError(f"hydra/launcher=side_by_side: for `unlearnctl train -m` only, not {verb}")
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Compose every member, so that a wrong one stops the sweep before any work, then run them."""
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        composed = []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
            with open_dict(config):
                config.hydra.job.id = config.hydra.job.num = number
            composed.append(config)

        def together(first: DictConfig) -> object:
            others = [config.copy() for config in composed[1:]]
            for other in others:
                with open_dict(other):
                    del other["hydra"]
            return self.task((self.members, [first, *others]))

        done = run_job(
            task_function=together, config=composed[0], hydra_context=self.context,
            job_dir_key="hydra.sweep.dir", job_subdir_key="hydra.sweep.subdir",
        )  # fmt: skip
        return [done]
