"""Trackio: a dashboard kept in files on this machine; no account, no server."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from unlearnctl.tracking.attempts import attempt_name, sweep_name
from unlearnctl.tracking.base import flatten
from unlearnctl.utils.errors import UserError


class TrackioTracker:
    """One trackio run for one of ours; `trackio show` opens the dashboard.

    Raises:
        UserError: the package is not installed.
    """

    def __init__(
        self,
        run_dir: Path,
        config: Mapping[str, Any],
        *,
        project: str = "unlearnctl",
        group: str | None = None,
    ) -> None:
        try:
            import trackio
        except ImportError as error:
            raise UserError("tracker=trackio: not installed; pip install trackio") from error
        self._trackio = trackio
        with redirect_stdout(io.StringIO()):  # it greets
            self._run = trackio.init(
                project=project,
                name=attempt_name(run_dir),
                group=group or sweep_name(run_dir),
                config=dict(config),
            )

    def log(self, row: Mapping[str, Any], step: int) -> None:
        """Send the row's numbers."""
        self._run.log(flatten(row), step=step)

    def finish(self, status: str) -> None:
        """Close the run."""
        with redirect_stdout(io.StringIO()):
            self._run.finish()
