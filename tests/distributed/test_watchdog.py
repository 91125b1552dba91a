"""The watchdog names the rank that hangs, from the heartbeats that the ranks write."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import pytest

from unlearnctl.distributed import heartbeat
from unlearnctl.distributed.settings import read_launch
from unlearnctl.distributed.watchdog import BEGIN, Watchdog
from unlearnctl.utils.errors import UserError


def leave(folder: Path, rank: int, at: str, waits: bool, count: int = 1) -> None:
    (folder / f"{rank}.sign").write_text(json.dumps({"count": count, "at": at, "waits": waits}))


def silent_after(watch: Watchdog, seconds: float) -> bool:
    with mock.patch("time.monotonic", return_value=watch.since + seconds):
        return watch.silent()


def test_any_beat_restarts_the_clock(tmp_path: Path) -> None:
    leave(tmp_path, 0, "step 1", False)
    leave(tmp_path, 1, "step 1", False)
    watch = Watchdog(tmp_path, 10.0, 2)
    assert not watch.silent()
    assert silent_after(watch, 11)
    leave(tmp_path, 1, "step 1", False, count=2)
    assert not silent_after(watch, 11)
    (tmp_path / "1.sign").write_text("{half")  # it is being written: what was read before holds
    assert silent_after(watch, 11)


def test_workers_may_take_longer_to_start(tmp_path: Path) -> None:
    leave(tmp_path, 0, "the start", False)
    watch = Watchdog(tmp_path, 1.0, 2)
    assert not watch.silent()
    assert not silent_after(watch, BEGIN - 1)
    assert silent_after(watch, BEGIN + 1)
    assert watch.line() == (
        "no sign of life for 1 s (launch.timeout) from rank 0 (last at the start), rank 1 (it never started)"
    )


@pytest.mark.parametrize(
    ("waits", "machine", "said"),
    [
        ((True, False), (0, 1), " from rank 1 (last at step 2)"),
        ((False, False), (0, 1), " from rank 0 (last at step 2), rank 1 (last at step 2)"),
        ((True, True), (0, 1), " from rank 0 (last at step 2), rank 1 (last at step 2)"),
        ((True, True), (0, 2), ": all ranks here wait for another machine"),
    ],
)
def test_those_who_wait_are_not_at_fault(
    waits: tuple[bool, bool], machine: tuple[int, int], said: str, tmp_path: Path
) -> None:
    for rank, flag in enumerate(waits):
        leave(tmp_path, rank, "step 2", flag)
    watch = Watchdog(tmp_path, 5.0, 2, machine)
    watch.silent()
    assert watch.line() == f"no sign of life for 5 s (launch.timeout){said}"


def test_ranks_of_the_second_machine_have_its_numbers(tmp_path: Path) -> None:
    leave(tmp_path, 2, "step 2", True)
    leave(tmp_path, 3, "step 2", False)
    watch = Watchdog(tmp_path, 5.0, 2, (1, 2))
    watch.silent()
    assert watch.line().endswith(" from rank 3 (last at step 2)")


def test_beats_are_written_only_where_a_watchdog_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(heartbeat.FOLDER, raising=False)
    heartbeat.beat("nothing")
    monkeypatch.setenv(heartbeat.FOLDER, str(tmp_path))
    monkeypatch.setenv("RANK", "1")
    heartbeat.beat("step 5")
    with heartbeat.waiting():
        during = json.loads((tmp_path / "1.sign").read_text())
    after = json.loads((tmp_path / "1.sign").read_text())
    assert (during["at"], during["waits"]) == ("step 5", True)
    assert (after["at"], after["waits"], after["count"]) == ("step 5", False, during["count"] + 1)
    monkeypatch.setenv(heartbeat.FOLDER, str(tmp_path / "gone"))
    heartbeat.beat("a missing folder does no harm")


@pytest.mark.parametrize("value", [0, -1, "soon", True, float("inf")])
def test_a_wrong_time_out_is_refused(value: object) -> None:
    with pytest.raises(
        UserError,
        match=r"^launch\.timeout=.*: must be (a positive number of seconds or null|a finite number)$",
    ):
        read_launch({"name": "cpu", "num_processes": 2, "timeout": value}, None)


def test_no_time_out() -> None:
    assert read_launch({"name": "cpu", "num_processes": 2, "timeout": None}, None).timeout is None
    assert read_launch({"name": "cpu", "num_processes": 2}, None).timeout == 1800
