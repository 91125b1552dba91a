"""`unlearnctl report DIR …`: remake the report of a run, or the summary of several."""

from __future__ import annotations

from pathlib import Path

from unlearnctl.reporting.reports import report
from unlearnctl.utils.errors import UserError


def report_command(args: list[str]) -> None:
    """Each argument is a run directory, or a folder above run directories; `to=FILE.html` names the page.

    Raises:
        UserError: no argument, no such directory, no finished run in it, or a `to` that cannot be written.
    """
    named = [arg.removeprefix("to=") for arg in args if arg.startswith("to=")]
    folders = [Path(arg) for arg in args if not arg.startswith("to=")]
    if len(named) > 1:
        raise UserError(f"to={named[1]}: given twice; one page is written")
    if not folders:
        raise UserError("report: give a run directory, e.g. unlearnctl report outputs/train/NAME/RUN")
    for path in report(folders, to=Path(named[0]) if named else None):
        print(path)
