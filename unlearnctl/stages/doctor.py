"""`unlearnctl doctor`: is this machine ready? One line per check, with the remedy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from unlearnctl.errors import UserError

Status = Literal["ok", "warn", "fail"]
STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@dataclass(frozen=True)
class Check:
    """What one check found; `remedy` says what to do unless all is well."""

    name: str
    status: Status
    found: str
    remedy: str = ""


def doctor(checks: Sequence[Callable[[], Check]] | None = None) -> int:
    """Run the checks (all of `stages.doctor_checks` by default), print a table; 1 if any failed, else 0."""
    if checks is None:
        from unlearnctl.stages.doctor_checks import CHECKS

        checks = CHECKS
    results = [_run(check) for check in checks]
    _print(results)
    return int(any(result.status == "fail" for result in results))


def doctor_command(args: Sequence[str]) -> int:
    """The verb as the command line calls it; it takes no argument.

    Raises:
        UserError: there is one.
    """
    if args:
        raise UserError(f"unlearnctl doctor: takes no argument, got {args[0]}")
    return doctor()


def _run(check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception as error:  # a broken machine is what we are here to report, not to die of
        name = getattr(check, "__name__", "check").replace("_", " ")
        line = next(iter(str(error).splitlines()), "")
        return Check(name, "fail", f"{type(error).__name__}: {line}", "unexpected; please report it")


def _print(results: Sequence[Check]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(4):
        table.add_column(overflow="fold")
    for result in results:
        status = Text(result.status, style=STYLES[result.status])
        table.add_row(result.name, status, Text(result.found), Text(result.remedy))
    console = Console()
    if not console.is_terminal:  # in a pipe or a log a line stays a line
        console.width = 500
    console.print(table)
