"""A clock that is set back, and directories that another process has."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.command import run, succeed
from tests.faults.conftest import SHORT
from tests.faults.inject import at_step
from tests.unlearning.same_outcome import outcome
from unlearnctl.distributed.failures import FOLDER, failed_rank, note_failure
from unlearnctl.distributed.watchdog import Watchdog

RUN = Path("outputs/train/n/r")


@pytest.mark.full
def test_a_clock_that_goes_back_an_hour(undisturbed: dict[str, Any]) -> None:
    wall = time.time
    with at_step(2, lambda trainer: setattr(time, "time", lambda: wall() - 3600)):
        try:
            done = succeed("train", *SHORT, "run=r")
        finally:
            time.time = wall
    assert "Traceback" not in done.out
    record = json.loads((RUN / "results.json").read_text())
    assert 0 < record["train"]["seconds"] < 300
    rows = [json.loads(line) for line in (RUN / "metrics.jsonl").read_text().splitlines()]
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)
    assert outcome(RUN) == undisturbed


@pytest.mark.full
def test_a_time_stamp_that_comes_again_overwrites_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Frozen(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime(2026, 1, 2, 3, 4, 5, tzinfo=tz)

    monkeypatch.setattr("hydra.core.utils.datetime", Frozen)
    monkeypatch.setattr("hydra._internal.config_loader_impl.datetime", Frozen, raising=False)
    folder = Path(succeed("train", *SHORT).run_dir)
    before = (folder / "results.json").read_bytes()
    again = run("train", *SHORT, f"run={folder.name}", "seed=1")
    assert again.code == 2
    assert again.err == f"error: run={folder.name}: {folder} exists already; choose another run=NAME\n"
    assert (folder / "results.json").read_bytes() == before


def test_the_first_failure_is_the_first_whatever_the_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    note_failure(ValueError("cause"), 1)
    with mock.patch.object(time, "time", return_value=0.0):  # set back to 1970
        note_failure(ValueError("consequence"), 0)
    found = failed_rank(tmp_path)
    assert found is not None
    assert found.line.startswith("rank 1: ValueError: cause")


def test_a_watch_does_not_look_at_the_wall_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0.sign").write_text(json.dumps({"count": 1, "at": "step 1", "waits": False}))
    watch = Watchdog(tmp_path, 60.0, 1)
    assert not watch.silent()
    with mock.patch.object(time, "time", return_value=4e9):
        assert not watch.silent()
    now = time.monotonic()
    with mock.patch.object(time, "monotonic", return_value=now + 61):
        assert watch.silent()


@pytest.mark.full
def test_a_lock_of_another_host_is_said_clearly() -> None:
    with at_step(3, lambda trainer: (_ for _ in ()).throw(KeyboardInterrupt)):
        assert run("train", *SHORT, "run=r").code == 130
    (RUN / "run.lock").write_text(json.dumps({"pid": 7, "host": "node7"}))
    done = run("train", f"resume={RUN}")
    assert done.code == 2
    assert done.err.startswith(
        f"error: {RUN}/run.lock: process 7 on node7 has this run; if that process is gone, delete the file "
    )
    (RUN / "run.lock").unlink()
    succeed("train", f"resume={RUN}")
