"""Remake the tables, plots and HTML of runs or of a sweep.

usage: unlearnctl report RUN [RUN ...] [to=FILE.html]

One run directory: its report.html and PNGs. Several, a sweep's, or any folder of runs and probes: summary.md,
summary.csv, plots, and one report.html with everything in it, which opens without a network: a table to sort and
filter, the trade-off of any two scores, curves, subjects, replies before and after, probes, token weights, settings
that differ. They go into the directory, or into the current one if there are several. With to=, that page alone is
written.

examples:
  unlearnctl report outputs/train/NAME/RUN
  unlearnctl report outputs/train/sweep/RUN
  unlearnctl report outputs/train outputs/probe to=all.html
"""

from __future__ import annotations

from pathlib import Path

from unlearnctl.reporting.reports import report as write_reports
from unlearnctl.utils.errors import UserError


def report(args: list[str]) -> None:
    """Report on run directories or folders above them; `to=FILE.html` names the page.

    Raises:
        UserError: no argument, no such directory, no finished run in it, or a `to` that cannot be written.
    """
    named = [arg.removeprefix("to=") for arg in args if arg.startswith("to=")]
    folders = [Path(arg) for arg in args if not arg.startswith("to=")]
    if len(named) > 1:
        raise UserError(f"to={named[1]}: given twice; one page is written")
    if not folders:
        raise UserError("report: give a run directory, e.g. unlearnctl report outputs/train/NAME/RUN")
    for path in write_reports(folders, to=Path(named[0]) if named else None):
        print(path)
