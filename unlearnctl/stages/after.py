"""After what was computed is on the disk: the report, which may fail, and what a failed write leaves to go on with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from unlearnctl.errors import UserError
from unlearnctl.files import why


@contextmanager
def keeping(what: str) -> Iterator[None]:
    """A disk that refuses is said in one line, with what was kept and how to go on.

    Raises:
        UserError: instead of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{why(error)}; {what}") from error


def report_or_say(directory: Path, *makers: Callable[[], object]) -> None:
    """Make a report from results.json, which is written; a disk that refuses costs the report alone."""
    try:
        for make in makers:
            make()
    except OSError as error:
        print(f"report: not written ({why(error)}); later, from results.json: unlearnctl report {directory}")
