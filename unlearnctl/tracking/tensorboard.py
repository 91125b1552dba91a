"""TensorBoard event files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unlearnctl.tracking.base import flatten
from unlearnctl.utils.errors import UserError


class TensorboardTracker:
    """Scalars of every row, and the config as text.

    Raises:
        UserError: the tensorboard package is not installed.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], after: int | None = None) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError("tracker=tensorboard: not installed; pip install tensorboard") from error
        # what an earlier try wrote of later steps is no longer shown
        self._writer = SummaryWriter(str(folder), purge_step=None if after is None else after + 1)
        text = json.dumps(config, indent=2, default=str)
        self._writer.add_text("config", f"```json\n{text}\n```")

    def log(self, row: Mapping[str, Any], step: int) -> None:
        """Write the row's numbers as scalars."""
        for name, value in flatten(row).items():
            self._writer.add_scalar(name, value, step)

    def finish(self, status: str) -> None:
        """Note the status and close."""
        self._writer.add_text("status", status)
        self._writer.close()
