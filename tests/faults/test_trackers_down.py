"""When a tracker is down, training continues, one line says so, and the metrics wait to be sent."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.command import Done, run, succeed
from tests.faults.conftest import SHORT
from tests.faults.inject import refusing
from tests.unlearning.same_outcome import outcome
from unlearnctl.tracking import TrackedRun
from unlearnctl.tracking.wandb import Wandb

RUN = Path("outputs/train/n/r")


class BoardTracker:
    """Take rows, except where it is told to fail."""

    fails_at = ""
    rows: list[Mapping[str, Any]] = []  # noqa: RUF012  of all, on purpose
    ended: list[str] = []  # noqa: RUF012

    __module__ = "unlearnctl.tracking.trackio"  # else no config may name it

    def __init__(self, **settings: object) -> None:
        pass

    def start(self, run: object) -> None:
        self._maybe("start")

    def log(self, row: Mapping[str, Any], step: int) -> None:
        self._maybe(f"log{step}")
        self.rows.append(row)

    def finish(self, status: str) -> None:
        self._maybe("finish")
        self.ended.append(status)

    def _maybe(self, place: str) -> None:
        if place == self.fails_at:
            raise ConnectionError("no route to api.example.org\nsecond line")


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> type[BoardTracker]:
    monkeypatch.setattr("unlearnctl.tracking.base.find_spec", lambda name: name)  # as if it were installed
    monkeypatch.setattr("unlearnctl.tracking.trackio.Trackio", BoardTracker)
    monkeypatch.setattr(BoardTracker, "rows", [])
    monkeypatch.setattr(BoardTracker, "ended", [])
    return BoardTracker


def said(done: Done, name: str, reason: str) -> None:
    line = (
        f"tracker={name}: {reason}; the run continues, its metrics are kept in {RUN}/metrics.jsonl; to send them "
        f"later: unlearnctl track {RUN}"
    )
    assert done.out.splitlines().count(line) == 1, done.out


@pytest.mark.full
@pytest.mark.parametrize(("place", "rows"), [("start", 0), ("log1", 0), ("log3", 2), ("finish", 4)])
def test_training_continues(
    place: str,
    rows: int,
    board: type[BoardTracker],
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: dict[str, Any],
) -> None:
    monkeypatch.setattr(board, "fails_at", place)
    done = succeed("train", *SHORT, "tracker=trackio", "run=r")
    said(done, "trackio" if place == "start" else "board", "no route to api.example.org")
    assert len(board.rows) == rows
    assert outcome(RUN) == undisturbed
    still = run("track", str(RUN))
    assert (still.code, still.err) == (2, "error: tracker=trackio: no route to api.example.org\n")
    monkeypatch.setattr(board, "fails_at", "")
    board.rows.clear()
    assert f"{RUN}: 4 rows sent" in succeed("track", str(RUN)).out
    assert [row["step"] for row in board.rows] == [1, 2, 3, 4]
    assert board.ended[-1] == "completed"


@pytest.mark.full
def test_a_disk_that_is_full_for_tensorboard(undisturbed: dict[str, Any]) -> None:
    with refusing("*/tensorboard/events*", errno.ENOSPC):
        done = succeed("train", *SHORT, "tracker=tensorboard", "run=r")
    assert done.out.count("tracker=tensorboard: ") == 1
    assert outcome(RUN) == undisturbed
    assert f"{RUN}: 4 rows sent" in succeed("track", str(RUN), "tracker=tensorboard").out


@pytest.mark.full
def test_a_folder_that_tensorboard_may_not_make(undisturbed: dict[str, Any]) -> None:
    with refusing("*/tensorboard", errno.EACCES):
        done = succeed("train", *SHORT, "tracker=tensorboard", "run=r")
    said(done, "tensorboard", f"[Errno 13] Permission denied: '{RUN}/tensorboard'")
    assert outcome(RUN) == undisturbed


@pytest.mark.full
def test_wandb_without_its_server_is_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    modes: list[str] = []

    class Run:
        def define_metric(self, *args: object, **kwargs: object) -> None: ...

    def init(mode: str, **settings: object) -> Run:
        modes.append(mode)
        if mode == "online":
            raise wandb.errors.CommError("Run initialization has timed out after 90.0 sec.\nhints")
        return Run()

    monkeypatch.setattr(wandb, "init", init)
    Wandb(mode="online").start(TrackedRun(tmp_path, {}))
    assert modes == ["online", "offline"]


@pytest.mark.full
def test_what_cannot_be_sent_is_said() -> None:
    run("train", *SHORT, "run=r")
    assert (
        run("track").err
        == "error: track: give a run directory, e.g. unlearnctl track outputs/train/NAME/RUN\n"
    )
    assert run("track", str(RUN)).err == (
        f"error: track {RUN}: its config has tracker=none; name one, e.g. tracker=tensorboard\n"
    )
    assert "track=nowhere: no run directory there" in run("track", "nowhere").err
