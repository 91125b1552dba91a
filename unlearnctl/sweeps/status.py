"""Record what became of each member of a sweep, in a `status.json` that is replaced atomically at every change.

States: planned, running, done, failed, interrupted. A member that was killed stays "running", but nothing holds its
lock.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from unlearnctl.results.schema import read_ending
from unlearnctl.runs.layout import ATTEMPTS, FILE, KEPT, LOCK, LOG
from unlearnctl.utils.atomic import open_ours, why, write_atomically
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.lock import lock_file
from unlearnctl.utils.numbers import finite
from unlearnctl.utils.safe_json import loads
from unlearnctl.utils.stopping import describe_signal, exception_from, signal_of

QUIET = "UNLEARNCTL_MEMBER_LOG"  # set while the live table uses the terminal: members then write to log.txt


@dataclass(frozen=True)
class Status:
    """The content of one member's status.json."""

    state: str = "planned"
    overrides: list[str] = field(default_factory=list)
    attempt: int = 0
    started: str | None = None
    finished: str | None = None
    seconds: float | None = None
    error: str | None = None


def read_status(directory: Path) -> Status | None:
    """Read the status in a member's directory; None if there is none, or it cannot be read."""
    try:
        found = Status(**loads((directory / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return found if _is_valid(found) else None


def _is_valid(status: Status) -> bool:
    texts = (status.started, status.finished, status.error)
    return (
        isinstance(status.state, str)
        and isinstance(status.overrides, list)
        and all(isinstance(override, str) for override in status.overrides)
        and type(status.attempt) is int
        and all(text is None or isinstance(text, str) for text in texts)
        and (status.seconds is None or finite(status.seconds) is not None)
    )


def write_status(directory: Path, status: Status) -> None:
    """Replace the status.json; a reader sees the old one or the new one, never half of it."""
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(directory / FILE, json.dumps(asdict(status), indent=1) + "\n")


@contextmanager
def locked(directory: Path, what: str) -> Iterator[None]:
    """Hold the directory of a member or of a sweep.

    Raises:
        UserError: another process holds it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = lock_file(directory / LOCK)
    except BlockingIOError as error:
        raise UserError(f"{what}: another process is using {directory}") from error
    except OSError as error:
        raise UserError(f"output_dir={directory}: cannot be written: {error.strerror}") from error
    with file:
        yield


@contextmanager
def attempt(directory: Path, resumes: bool = False) -> Iterator[None]:
    """Record one attempt at a member: its start, its end and its error, which is raised again.

    What an earlier attempt left is moved to `attempts/N`, unless this one `resumes` from there.

    Raises:
        UserError: another process is using this member.
        KeyboardInterrupt: the run was interrupted, and ended in an orderly way.
    """
    with locked(directory, f"member {directory.name}"):
        status = start(directory, resumes)
        try:
            with _own_log(directory):
                yield
        except BaseException as error:
            end(directory, status, error)
            raise
        if (ended := end(directory, status)).state == "interrupted":
            raise exception_from(ended.error)


def start(directory: Path, resumes: bool = False) -> tuple[Status, float]:
    """Record that a member begins."""
    before = read_status(directory) or Status()
    if not resumes:
        _set_aside(directory, before.attempt)
    status = replace(
        before,
        state="running",
        attempt=before.attempt + 1,
        started=_now(),
        finished=None,
        seconds=None,
        error=None,
    )
    write_status(directory, status)
    return status, time.monotonic()


def end(directory: Path, started: tuple[Status, float], error: BaseException | None = None) -> Status:
    """Record how a member ended: by its error, or by what its results.json says."""
    from unlearnctl.utils.explain import explain

    status, since = started
    # results.json decides: a run that was interrupted and saved raises nothing.
    ending, reason = read_ending(directory)
    state, line = "done", None
    if isinstance(error, KeyboardInterrupt):
        state, line = "interrupted", describe_signal(signal_of(error))
    elif error is not None:
        state, line = "failed", explain(error)
    elif ending == "interrupted":
        state, line = "interrupted", reason
    status = replace(
        status, state=state, error=line, finished=_now(), seconds=round(time.monotonic() - since, 3)
    )
    try:
        write_status(directory, status)
    except OSError as written:  # the status matters less than the results
        print(
            f"status: not written ({why(written)}); unlearnctl train --resume looks at what the member left"
        )
    return status


def _set_aside(directory: Path, number: int) -> None:
    left = [path for path in directory.iterdir() if path.name not in KEPT]
    if left:
        folder = directory / ATTEMPTS / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        for path in left:
            shutil.move(path, folder / path.name)


@contextmanager
def _own_log(directory: Path) -> Iterator[None]:
    if os.environ.get(QUIET) != "1":
        yield
        return
    with open_ours(directory / LOG, "a", encoding="utf-8", buffering=1) as file, redirect_stdout(file):
        yield


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
