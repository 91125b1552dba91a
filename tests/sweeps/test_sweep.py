"""Sweeps from the command line: planted failures, resuming, a name that no other sweep has."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import QUICK, run, succeed
from unlearnctl.models.shared_models import SharedModels
from unlearnctl.sweeps.status import Status, read_status, write_status
from unlearnctl.training.progress import TrainProgress
from unlearnctl.unlearning import shared_data
from unlearnctl.unlearning.outcome import Outcome
from unlearnctl.unlearning.session import Session

SIDE = "hydra/launcher=side_by_side"
TINY = ("trainer.steps=1", "objective=rmu")
SWEEP = ("train", "-m", *QUICK, *TINY, "run=s", "objective.alpha=1,10,much")
FOLDER = Path("outputs/train/sweep/s")


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def states(folder: Path = FOLDER) -> dict[str, Status]:
    found = {path.parent.name: read_status(path.parent) for path in folder.glob("*/status.json")}
    return {name: status for name, status in found.items() if status}


def table(folder: Path = FOLDER) -> list[dict[str, str]]:
    rows = list(csv.DictReader((folder / "summary.csv").read_text().splitlines()))
    return [{key: value for key, value in row.items() if key != "run"} for row in rows]


@pytest.mark.full
@pytest.mark.parametrize("how", [(), (SIDE,)], ids=["one_by_one", "side_by_side"])
def test_failures_stop_no_other_and_a_resumption_runs_only_what_is_missing(how: tuple[str, ...]) -> None:
    done = run(*SWEEP, *how)
    assert done.code == 2
    assert (
        "members failed, as reported above; to run them again: unlearnctl train --resume outputs" in done.err
    )
    found = states()
    assert sorted(status.state for status in found.values()) == ["done", "done", "failed"]
    (failed,) = (status for status in found.values() if status.state == "failed")
    assert failed.error
    assert failed.error.startswith("objective.alpha=much: must be")
    assert failed.error in " ".join(done.out.split())
    assert {row["status"].partition(":")[0] for row in table()} == {"completed", "failed"}
    assert {"pareto.png", "parallel.png", "summary.md"} <= {path.name for path in FOLDER.iterdir()}

    again = run("train", "--resume", str(FOLDER))
    assert again.code == 2
    assert "members: 2 of 3 already done, 1 to run" in again.out
    assert {s.attempt for s in states().values() if s.state == "done"} == {1}
    assert {s.attempt for s in states().values() if s.state == "failed"} == {2}

    more = succeed(
        "train", "--resume", str(FOLDER), "objective.alpha=1,10,40"
    )  # other members, the same sweep
    assert "members: 2 of 3 already done, 1 to run" in more.out
    assert sum(status.state == "done" for status in states().values()) == 3


@pytest.mark.full
def test_names_do_not_hang_on_the_order_of_members() -> None:
    succeed("train", "-m", *QUICK, *TINY, "run=a", "seed=0,1", SIDE)
    succeed("train", "-m", *QUICK, *TINY, "run=b", "seed=1,0,1", SIDE)  # one of them twice: run once
    a, b = (Path("outputs/train/sweep") / name for name in "ab")
    assert set(states(a)) == set(states(b))
    assert table(a) == table(b)


@pytest.mark.full
def test_a_member_that_was_cut_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed: its status says running, and its directory holds half a run."""
    finish = Session.finish

    def stopping(self: Session, models: SharedModels, outcome: Outcome) -> Outcome:
        if self.setup.cfg.seed == 1:
            raise KeyboardInterrupt
        return finish(self, models, outcome)

    with monkeypatch.context() as patched:
        patched.setattr(Session, "finish", stopping)
        done = run("train", "-m", *QUICK, *TINY, "eval=[]", "run=s", "seed=0,1,2")
    assert done.code == 130
    assert "resume it: unlearnctl train --resume outputs/train/sweep/s" in done.err
    assert sorted(s.state for s in states().values()) == ["done", "interrupted", "planned"]
    (cut,) = (name for name, status in states().items() if status.state == "interrupted")
    write_status(FOLDER / cut, Status("running", attempt=1))
    succeed("train", "--resume", str(FOLDER))
    assert {s.state for s in states().values()} == {"done"}
    assert len(table()) == 3
    assert read_status(FOLDER / cut) is not None
    assert states()[cut].attempt == 2


@pytest.mark.full
def test_an_error_in_training_costs_only_its_member(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Session.begin

    def failing(self: Session, models: SharedModels, progress: TrainProgress) -> None:
        if self.setup.cfg.seed == 1:
            raise RuntimeError("planted")
        begin(self, models, progress)

    monkeypatch.setattr(Session, "begin", failing)
    done = run("train", "-m", *QUICK, *TINY, "eval=[]", "run=s", "seed=0,1,2", SIDE)
    assert done.code == 2
    assert "its members train one by one" in done.out
    assert sorted(s.state for s in states().values()) == ["done", "done", "failed"]


@pytest.mark.full
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--resume", "nowhere"), "--resume nowhere: no sweep.json there; give the directory of a sweep"),
        (("--resume",), "unlearnctl train: --resume resumes a sweep"),
    ],
)
def test_what_cannot_be_resumed_is_said_in_one_line(args: tuple[str, ...], message: str) -> None:
    done = run("train", *args)
    assert done.code == 2
    assert done.err.startswith(f"error: {message}")
    assert len(done.err.splitlines()) == 1


@pytest.mark.full
def test_members_in_one_process_tokenise_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, load = [], shared_data.load_data
    monkeypatch.setattr(shared_data, "load_data", lambda *args: calls.append(args) or load(*args))
    succeed("train", "-m", *QUICK, *TINY, "eval=[]", "run=s", "seed=0,1")
    assert len(calls) == 1
    prints = {json.loads(p.read_text())["provenance"]["data"] for p in FOLDER.glob("*/results.json")}
    assert len(prints) == 2  # the order of each seed is its own


@pytest.mark.full
def test_a_sweep_does_not_write_into_another() -> None:
    succeed("train", "-m", *QUICK, *TINY, "eval=[]", "run=s", "seed=0")
    done = run("train", "-m", *QUICK, *TINY, "eval=[]", "run=s", "seed=1")
    assert done.code == 2
    assert "run=s: outputs/train/sweep/s exists already; choose another run=NAME, or finish" in done.err
    assert len(states()) == 1


@pytest.mark.full
def test_two_sweeps_at_once_do_not_collide() -> None:
    """The same command twice, in two processes, begun in the same second."""
    code = "import sys; from unlearnctl.cli import main; main(sys.argv[1:])"
    args = ["train", "-m", *QUICK, *TINY, "seed=0,1", SIDE]
    both = [
        subprocess.Popen([sys.executable, "-c", code, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    folders = sorted(Path("outputs/train/sweep").iterdir())
    assert len(folders) == 2
    assert table(folders[0]) == table(folders[1])
    assert len(table(folders[0])) == 2
    assert json.loads((folders[0] / "sweep.json").read_text())["run"] == folders[0].name
