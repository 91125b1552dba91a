"""Turn a full disk or exhausted memory into one line that says what was kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unlearnctl.utils.atomic import why
from unlearnctl.utils.errors import UserError, out_of_memory

# Settings of suites that decide how much memory they use.
SIZES = ("batch_tokens", "batch_size", "max_length")


@contextmanager
def keeping(what: str, suites: Mapping[str, Any]) -> Iterator[None]:
    """Report an error of the disk, or out of memory in `suites`, in one line that says what was kept.

    Raises:
        UserError: in place of the system's error.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{why(error)}; {what}") from error
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise UserError(f"{smaller_evaluation(suites)}; {what}") from error


def smaller_evaluation(suites: Mapping[str, Any]) -> str:
    """Say what to lower when evaluation runs out of memory; `suites` is `cfg.eval` as plain data."""
    sizes = [
        f"eval.{suite}.{key}={node[key]}" for suite, node in suites.items() for key in SIZES if node.get(key)
    ]
    return f"out of memory in evaluation: lower {', '.join(sizes) or 'the size of the suites in eval'}"


def report_or_say(directory: Path, *makers: Callable[[], object]) -> None:
    """Make a report from results.json; if the disk refuses, only the report is lost."""
    try:
        for make in makers:
            make()
    except OSError as error:
        print(
            f"report: not written ({why(error)}); to make it from results.json: unlearnctl report {directory}"
        )
