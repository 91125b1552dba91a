"""A multirun side by side leaves what the members leave one by one; a failure stops only its own."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.command import QUICK, Done, run, succeed
from unlearnctl.models.shared_models import SharedModels
from unlearnctl.sweeps import together
from unlearnctl.unlearning.outcome import Outcome
from unlearnctl.unlearning.session import Session
from unlearnctl.utils.stopping import describe_signal

SIDE = "hydra/launcher=side_by_side"
SWEEP = ("train", "-m", *QUICK, "run=s", "objective.alpha=1,10,40")


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def members(done: Done) -> dict[str, Path]:
    folder = Path(done.out.strip().splitlines()[-1].removeprefix("sweep: "))
    return {path.parent.name: path.parent for path in folder.glob("*/results.json")}


def scores(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())["after"]


@pytest.mark.full
@pytest.mark.parametrize(
    "how",
    [
        ("objective=rmu",),
        ("objective=rmu", "trainer.monitor.every=2"),
        ("objective=npo", "trainer.lora={rank: 2, alpha: 4}"),
    ],
)
def test_members_equal_their_runs_alone(how: tuple[str, ...]) -> None:
    """With a trunk, on whole models, with adapters: checkpoints are the same bytes, scores the same numbers."""
    sweep = ("train", "-m", *QUICK, "run=s", "objective.alpha=1,10", *how)
    together = members(succeed(*sweep, SIDE, "output_dir=together"))
    one_by_one = members(succeed(*sweep, "output_dir=alone"))
    assert len(together) == 2
    assert set(together) == set(one_by_one)
    for name, folder in together.items():
        files = [where / "checkpoint/delta.safetensors" for where in (folder, one_by_one[name])]
        assert files[0].read_bytes() == files[1].read_bytes()
        assert scores(folder) == scores(one_by_one[name])


@pytest.mark.full
def test_those_that_cannot_share_train_apart() -> None:
    sweep = ("train", "-m", *QUICK, "objective=rmu", "objective.layer=3,4", "seed=0,1,2", SIDE)
    done = succeed(*sweep, "eval=[]", "run=s", "hydra.launcher.members=2")
    groups = [line for line in done.out.splitlines() if line.startswith("side by side: ")]
    assert [line.count(",") + 1 for line in groups] == [2, 2]  # and of each layer one alone
    assert len(members(done)) == 6


@pytest.mark.full
@pytest.mark.parametrize("how", [(), (SIDE,)])
def test_members_may_differ_in_precision(how: tuple[str, ...]) -> None:
    """accelerate keeps one for the whole process; each is as it would be alone, whatever came before it."""
    only = ("objective=rmu", "trainer.steps=2", "eval=[]", "run=s")
    done = succeed("train", "-m", *QUICK, *only, "trainer.mixed_precision=bf16,no", *how, "output_dir=both")
    alone = succeed("train", "-m", *QUICK, *only, "trainer.mixed_precision=no", "output_dir=alone")
    both, (name, expected) = members(done), members(alone).popitem()
    bytes_ = {key: (path / "checkpoint/delta.safetensors").read_bytes() for key, path in both.items()}
    assert bytes_.pop(name) == (expected / "checkpoint/delta.safetensors").read_bytes()
    assert set(bytes_.values()) != {(expected / "checkpoint/delta.safetensors").read_bytes()}


@pytest.mark.full
def test_a_wrong_member_is_named_before_any_trains_and_the_others_do() -> None:
    done = run("train", "-m", *QUICK, "eval=[]", "run=s", "objective=rmu", "objective.layer=3,99", SIDE)
    assert done.code == 2
    lines = done.err.splitlines()
    assert lines[0].startswith("error: objective.layer=99: tinyworld has 8 blocks")
    assert "1 of the sweep's members failed" in lines[-1]
    assert done.out.index("step 3/3")
    assert len(members(done)) == 1


@pytest.mark.full
def test_a_member_that_fails_at_its_end_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    finish, seen = Session.finish, []

    def failing(self: Session, models: SharedModels, outcome: Outcome) -> Outcome:
        seen.append(self)
        if len(seen) == 2:
            raise OSError("disk full")
        return finish(self, models, outcome)

    monkeypatch.setattr(Session, "finish", failing)
    done = run(*SWEEP, SIDE)
    assert done.code == 2
    assert "disk full" in done.err
    assert len(members(done)) == 2
    assert (
        len(list(Path("outputs/train/sweep/s").glob("*/checkpoint/delta.json"))) == 3
    )  # nothing computed is lost


@pytest.mark.full
def test_an_interruption_of_the_last_member_ends_the_sweep_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The members take two and three steps, and the signal comes when only the longer one is left."""
    rounds = []

    def after_the_second(signalled: int) -> str | None:
        rounds.append(signalled)
        return describe_signal(signal.SIGINT) if len(rounds) == 2 else None

    with monkeypatch.context() as patched:
        patched.setattr(together, "interruption", after_the_second)
        done = run("train", "-m", *QUICK, "objective=rmu", "trainer.steps=2,3", "eval=[]", "run=s", SIDE)
    assert done.code == 130
    states = sorted(
        json.loads(p.read_text())["state"] for p in Path("outputs/train/sweep/s").glob("*/status.json")
    )
    assert states == ["done", "interrupted"]
    assert (
        "members: 1 of 2 already done, 1 to run" in succeed("train", "--resume", "outputs/train/sweep/s").out
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("hydra.launcher.members=0",), "hydra.launcher.members=0: must be a whole number, 1 or more"),
        (("objective.alfa=1",), "objective.alfa: unknown key"),
    ],
)
def test_wrong_sweeps_are_refused_in_one_line(args: tuple[str, ...], message: str) -> None:
    done = run(*SWEEP, SIDE, *args)
    assert done.code == 2
    assert done.err.startswith(f"error: {message}")
    assert not list(Path("outputs").rglob("config.yaml"))


def test_only_train_goes_side_by_side() -> None:
    done = run("eval", "-m", "seed=0,1", "eval=[smoke]", SIDE)
    assert done.code == 2
    assert "hydra/launcher=side_by_side: for `unlearnctl train -m` only, not eval" in done.err
