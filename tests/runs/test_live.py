"""Locks show whether a process is at work in a run; reading takes none, and a live run is not called failed."""

from __future__ import annotations

import fcntl
import io
import json
import os
import socket
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from tests.reporting.conftest import results, write_run
from unlearnctl.commands.track import track
from unlearnctl.hydra_app import Stage
from unlearnctl.reporting.reports import report
from unlearnctl.runs.live import SILENT, at_work
from unlearnctl.runs.lock import locked
from unlearnctl.sweeps import status
from unlearnctl.sweeps.members import Member, plan
from unlearnctl.sweeps.status import Status, read_status, write_status
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.lock import lock_file

ME = f"process {os.getpid()} on {socket.gethostname()}"


def test_a_lock_that_is_held_is_seen_and_stays_held(tmp_path: Path) -> None:
    assert at_work(tmp_path) is None
    with locked(tmp_path):
        assert at_work(tmp_path) == ME
        with pytest.raises(UserError, match="is at work in it"), locked(tmp_path):
            pass
    assert at_work(tmp_path) is None
    (tmp_path / "run.lock").write_text(
        json.dumps({"pid": 1, "host": socket.gethostname()})
    )  # its process died
    assert at_work(tmp_path) is None


def test_a_member_that_has_not_begun_its_run_is_at_work_too(tmp_path: Path) -> None:
    with status.locked(tmp_path, "member m"):
        assert at_work(tmp_path) == f"process ? on {socket.gethostname()}"


def test_a_run_on_another_host_is_at_work_while_it_gives_signs(tmp_path: Path) -> None:
    (tmp_path / "run.lock").write_text('{"pid": 5, "host": "elsewhere"}')
    assert at_work(tmp_path) == "process 5 on elsewhere"
    old = time.time() - SILENT - 1
    os.utime(tmp_path / "run.lock", (old, old))
    assert at_work(tmp_path) is None
    (tmp_path / "metrics.jsonl").write_text("")
    assert at_work(tmp_path) == "process 5 on elsewhere"


@pytest.mark.parametrize("content", ["", "[]", "{", '{"pid": [1]}', "\0" * 2000])
def test_any_content_of_a_lock_is_read(content: str, tmp_path: Path) -> None:
    (tmp_path / "run.lock").write_text(content)
    assert at_work(tmp_path) is None


def test_a_lock_that_is_a_link_or_no_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "run.lock").symlink_to(tmp_path / "run.lock")
    os.mkfifo(tmp_path / ".lock")
    assert at_work(tmp_path) is None


def test_a_look_does_not_keep_the_next_process_out(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    with path.open("w") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        with pytest.raises(BlockingIOError):
            lock_file(path)
        threading.Timer(0.03, lambda: fcntl.flock(looking, fcntl.LOCK_UN)).start()
        lock_file(path).close()


def test_a_live_run_is_reported_as_running_and_a_dead_member_as_cut_off(tmp_path: Path) -> None:
    write_run(tmp_path / "done")
    write_run(tmp_path / "again", results(layer=2, status="interrupted"))
    for name in ("live", "dead"):
        write_status(tmp_path / name, Status("running", attempt=1))
    out = io.StringIO()
    with status.locked(tmp_path / "live", "m"), locked(tmp_path / "again"):
        *_, page = report([tmp_path], Console(file=out, width=300))
        said = out.getvalue()
        assert f"running: {tmp_path / 'live'}: process ? on" in said
        assert f"failed: {tmp_path / 'dead'}: cut off\n" in said.replace(" \n", "\n")
        assert "2 of 4 runs left out: 1 without readable results, 1 running" in said
        text = page.read_text()
        assert "1 running: live" in text
        assert "1 failed or missing" in text
        assert '<td class="setting" data-value="running">running</td>' in text  # it is being resumed
        with pytest.raises(UserError, match=r"is at work in .*live, report it when it has ended$"):
            report([tmp_path / "live"], Console(file=out))
    assert ",running" in (tmp_path / "summary.csv").read_text()
    assert "## Running" in (tmp_path / "summary.md").read_text()


def test_a_live_run_is_not_tracked_and_a_live_member_is_not_planned_again(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "run", yaml="model: {}\ndata: {}\nobjective: {}\ntrainer: {}\ntracker: {name: none}\n"
    )
    with locked(run), pytest.raises(UserError) as caught:
        track([str(run), "tracker=tensorboard"])
    assert (
        str(caught.value) == f"track {run}: {ME} is at work in it; its metrics can be sent when it has ended"
    )
    members = [Member(tmp_path / f"m{place}", []) for place in range(2)]
    write_status(members[0].directory, Status("running", attempt=1))
    with status.locked(members[0].directory, "m"):
        assert plan(members) == [1]
        assert read_status(members[0].directory) == Status("running", attempt=1)
    assert plan(members) == [0, 1]


def test_a_sweep_tells_members_that_failed_from_those_at_work(tmp_path: Path) -> None:
    stage = Stage("train")
    stage.unfinished = [Member(tmp_path / name, []) for name in ("a", "b", "c")]
    for member in stage.unfinished:
        member.directory.mkdir()
    again = f"to run them again: unlearnctl train --resume {tmp_path}"
    with pytest.raises(UserError) as all_failed:
        stage.check_sweep()
    assert str(all_failed.value) == f"3 of the sweep's members failed, as reported above; {again}"
    with status.locked(tmp_path / "b", "member b"), pytest.raises(UserError) as one_at_work:
        stage.check_sweep()
    assert str(one_at_work.value) == (
        f"2 of the sweep's members failed, as reported above; 1 of its members is running in another process; {again}"
    )
