"""`unlearnctl report DIR …`: remake the report of a run, or the summary of several."""

from __future__ import annotations

from pathlib import Path

from unlearnctl.errors import UserError
from unlearnctl.reporting.report import report


def report_command(args: list[str]) -> None:
    """Each argument is a run directory, or a folder above run directories.

    Raises:
        UserError: no argument, no such directory, or no finished run in it.
    """
    if not args:
        raise UserError("report: give a run directory, e.g. unlearnctl report outputs/train/NAME/RUN")
    for path in report([Path(arg) for arg in args]):
        print(path)
