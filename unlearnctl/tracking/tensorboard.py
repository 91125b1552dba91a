"""Write TensorBoard event files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from unlearnctl.tracking.base import TrackedRun, check_installed, flatten
from unlearnctl.utils.errors import UserError


class TensorBoard:
    """Scalars of every row, and the config as text.

    Args:
        folder: where the event files go, inside the run directory.

    Raises:
        UserError: a folder outside the run directory, or the tensorboard package is not installed.
    """

    def __init__(self, *, folder: str = "tensorboard") -> None:
        path = PurePath(folder)
        if not path.parts or path.is_absolute() or ".." in path.parts:
            raise UserError(f"tracker.folder={folder}: must be the name of a folder inside the run directory")
        check_installed("tensorboard")
        self.folder = folder

    def start(self, run: TrackedRun) -> None:
        """Open the event file; a resumed run hides what was written after the step that it resumes from."""
        from torch.utils.tensorboard import SummaryWriter

        purged = None if run.after is None else run.after + 1
        self._writer = SummaryWriter(str(run.directory / self.folder), purge_step=purged)
        text = json.dumps(run.config, indent=2, default=str)
        self._writer.add_text("config", f"```json\n{text}\n```")

    def log(self, row: Mapping[str, Any], step: int) -> None:
        """Write the row's numbers as scalars."""
        for name, value in flatten(row).items():
            self._writer.add_scalar(name, value, step)

    def finish(self, status: str) -> None:
        """Note the status and close the file."""
        self._writer.add_text("status", status)
        self._writer.close()
