"""Status files, locks, names and the lines of the board, without a run."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from unlearnctl.sweeps.board import Board, duration, last_step
from unlearnctl.sweeps.members import Member, claim, labels, plan, resumed
from unlearnctl.sweeps.status import Status, attempt, locked, read_status, write_status
from unlearnctl.utils.errors import UserError


def members(folder: Path, count: int = 3) -> list[Member]:
    return [Member(folder / f"m{i}", ["trainer.steps=1", f"objective.alpha={i}"]) for i in range(count)]


def test_an_attempt_notes_start_and_end(tmp_path: Path) -> None:
    with attempt(tmp_path / "m"):
        assert read_status(tmp_path / "m").state == "running"  # type: ignore[union-attr]
        (tmp_path / "m/config.yaml").write_text("first")
    with pytest.raises(UserError), attempt(tmp_path / "m"):
        raise UserError("seed=x: wrong")
    status = read_status(tmp_path / "m")
    assert status
    assert (status.state, status.attempt, status.error) == ("failed", 2, "seed=x: wrong")
    assert (tmp_path / "m/attempts/1/config.yaml").read_text() == "first"


def test_a_run_that_ended_interrupted_stops_the_sweep(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), attempt(tmp_path / "m"):
        (tmp_path / "m/results.json").write_text('{"status": "interrupted"}')
    assert read_status(tmp_path / "m").state == "interrupted"  # type: ignore[union-attr]


def test_half_a_status_is_none(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text('{"state": "do')
    assert read_status(tmp_path) is None


def test_a_directory_has_one_process(tmp_path: Path) -> None:
    with locked(tmp_path, "run=s"), pytest.raises(UserError, match=r"^run=s: another process is using"), locked(
        tmp_path, "run=s"
    ):  # fmt: skip
        pass
    with locked(tmp_path, "run=s"):
        pass


def test_plan_names_each_config_once_and_leaves_out_what_is_done(tmp_path: Path) -> None:
    some = members(tmp_path)
    write_status(some[1].directory, Status("done", attempt=1))
    assert plan([*some, some[0]]) == [0, 2]
    assert some[2].status.state == "planned"
    assert labels(some)[some[2].directory] == "alpha=2"


def test_resuming_replaces_what_is_given_again(tmp_path: Path) -> None:
    folder = tmp_path / "out/train/sweep/night"
    claim(folder, "night", ["a=1,2", "+b=3", "run=night", "output_dir=elsewhere"], resume=False)
    with pytest.raises(UserError, match=r"run=night: .* exists already"):
        claim(folder, "night", [], resume=False)
    assert resumed(str(folder), ["a=4"]) == [
        "+b=3", "a=4", 'run="night"', f"output_dir={json.dumps(str(tmp_path / 'out'))}", "hydra.sweeper.resume=true"
    ]  # fmt: skip


def results(directory: Path, after: float) -> None:
    def metric(role: str, goal: str, value: float) -> dict[str, object]:
        return {"role": role, "goal": goal, "value": value, "chance": 0.0}

    def scores(value: float) -> dict[str, object]:
        return {"w": {"bad": metric("forget", "lower", value), "good": metric("retain", "higher", 1.0)}}

    body = {"schema": "unlearnctl/results/1", "before": scores(1.0), "after": scores(after)}
    (directory / "results.json").write_text(json.dumps(body))


def test_the_board_says_how_far_it_is_and_which_is_best(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = members(tmp_path)
    plan(some)
    with Board(some, Console(file=io.StringIO()), every=60) as board:
        for place, value in ((0, 0.75), (1, 0.25)):
            write_status(some[place].directory, Status("done", attempt=1, seconds=2.0))
            results(some[place].directory, value)
        board.look()
        write_status(some[2].directory, Status("failed", attempt=1, error="disk full"))
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("members: 2 of 3 done; best hypervolume 0.750 (alpha=1); about ")
    assert second == "members: 2 of 3 done, 1 failed; best hypervolume 0.750 (alpha=1)"


def test_in_a_terminal_the_board_is_a_table_and_members_write_into_logs(tmp_path: Path) -> None:
    some = members(tmp_path, 40)
    plan(some)
    out = io.StringIO()
    with Board(some, Console(file=out, force_terminal=True, width=100, height=20), every=60) as board:
        with attempt(some[0].directory):
            print("said by the member")
            (some[0].directory / "metrics.jsonl").write_text('{"kind": "train", "step": 7}\n{"kind": "tr')
            board.look()
        results(some[0].directory, 0.5)
    assert (some[0].directory / "log.txt").read_text() == "said by the member\n"
    assert "UNLEARNCTL_MEMBER_LOG" not in os.environ
    assert "running" in out.getvalue()
    assert "and 27 more" in out.getvalue()
    assert "0.500" in out.getvalue()
    assert last_step(some[0].directory) == "7"
    assert last_step(some[1].directory) == ""


def test_durations() -> None:
    assert [duration(s) for s in (4.2, 300, 9000)] == ["4 s", "5 min", "2.5 h"]


def test_two_processes_see_two_gpus(tmp_path: Path) -> None:
    code = (
        "import os, sys; from unlearnctl.sweeps.gpu_slot import take_slot; take_slot(.01); take_slot(.01);"
        "print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); sys.stdin.read()"
    )
    env = {**os.environ, "UNLEARNCTL_GPUS": "3, 5", "UNLEARNCTL_CACHE": str(tmp_path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    both = [subprocess.Popen([sys.executable, "-c", code], env=env, text=True, **pipes) for _ in range(2)]
    seen = [process.stdout.readline().strip() for process in both if process.stdout]
    for process in both:
        process.communicate("")
    assert sorted(seen) == ["3", "5"]
