"""Log to Trackio, a dashboard in files on this machine; no account, no server."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

from unlearnctl.tracking.attempts import attempt_name, sweep_name
from unlearnctl.tracking.base import TrackedRun, check_installed, flatten


class Trackio:
    """One trackio run for one of ours; `trackio show` opens the dashboard.

    Raises:
        UserError: the package is not installed.
    """

    def __init__(self, *, project: str = "unlearnctl", group: str | None = None) -> None:
        check_installed("trackio")
        self.project, self.group = project, group

    def start(self, run: TrackedRun) -> None:
        """Begin the trackio run."""
        import trackio

        with redirect_stdout(io.StringIO()):  # it greets
            self._run = trackio.init(
                project=self.project,
                name=attempt_name(run.directory),
                group=self.group or sweep_name(run.directory),
                config=dict(run.config),
            )

    def log(self, row: Mapping[str, Any], step: int) -> None:
        """Send the row's numbers."""
        self._run.log(flatten(row), step=step)

    def finish(self, status: str) -> None:
        """Close the run."""
        with redirect_stdout(io.StringIO()):
            self._run.finish()
