"""A run that is cut off resumes to the same bytes: every objective, every way of training, killed anywhere."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.command import Done, run, succeed
from tests.unlearning.same_outcome import outcome
from unlearnctl.runs.lock import locked
from unlearnctl.training.loop import Trainer
from unlearnctl.unlearning import outcome as stage_result
from unlearnctl.unlearning import session as stage_run
from unlearnctl.unlearning.resume import can_resume

STEPS = 6
SHORT = (
    "trainer.device=cpu", f"trainer.steps={STEPS}", "trainer.global_batch=4", "eval=[smoke]",
    "trainer.checkpoint.every=1e-9", "name=n",
)  # fmt: skip
WATCHED = ("trainer.monitor.every=2", "trainer.monitor.overrides=null")
META = (
    "trainer=meta", "trainer.meta.layers=[[4],[3,4]]", "trainer.monitor.keep=last", "objective.alpha=1", *WATCHED,
)  # fmt: skip
SEARCH = (
    *META, "trainer.meta.mode=search", "trainer.meta.episodes=3", "trainer.meta.episode_steps=2",
    "trainer.meta.layers=null",
)  # fmt: skip
# each objective by itself: tests/training/test_checkpoint.py
WAYS = {
    "plain": ("trainer.schedule=cosine", "trainer.clip_norm=1.0"),
    "calibrated": ("objective=rmu_adaptive", "objective.granularity=per_topic", "objective.retain_noise=0.1"),
    "atwu": ("objective=atwu", "objective.token_weights.every=2", "trainer.micro_batch=2"),
    "probe_directions": ("objective=probe_directions",),
    "composite": ("objective=composite", "data=tinyworld_hazard_toxic", "eval=[]", "trainer.monitor.every=0"),
    "best": (*WATCHED, "trainer.monitor.keep=best", "trainer.prefix_cache=memory"),
    "early_stop": (
        *WATCHED, "objective=grad_ascent", "trainer.optimizer.lr=3e-2", "trainer.monitor.max_retain_damage=0.05",
    ),
    "online": META,
    "search": SEARCH,
    "lora": ("trainer.lora={rank:4,alpha:8}", "trainer.gradient_checkpointing=true"),
    "sharpness": ("objective=npo", "trainer.sharpness=0.01", "trainer.prefix_cache=disk"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The outcome of the short run that nobody cuts; how often it writes checkpoints makes no difference."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("whole"))
        succeed("train", *SHORT, "run=whole")
        return outcome(directory("whole"))


def directory(name: str) -> Path:
    return Path("outputs/train/n") / name


class Cut(Exception):
    """Stands for a kill."""


def cut_at(step: int, monkeypatch: pytest.MonkeyPatch, *args: str) -> Done:
    """Run until the given step has begun, but not been logged."""
    step_of = Trainer.step

    def cutting(self: Trainer, number: int) -> dict[str, Any]:
        row = step_of(self, number)
        if number == step and self.settings.steps == STEPS:
            raise Cut
        return row

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", cutting)
        return run("train", *args)


@pytest.mark.first(1)
@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_is_cut_off_resumes_to_the_same_bytes(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    args = (*WAYS[way], *SHORT) if "trainer=meta" in WAYS[way] else (*SHORT, *WAYS[way])
    succeed("train", *args, "run=whole")
    whole = outcome(directory("whole"))
    step = min(3, whole["train"]["steps"] - 1)
    assert cut_at(step, monkeypatch, *args, "run=cut").code == 2
    assert can_resume(directory("cut"))
    done = succeed("train", f"resume={directory('cut')}")
    assert f"resuming after step {step} of {STEPS}" in done.out
    assert outcome(directory("cut")) == whole
    record = json.loads((directory("cut") / "results.json").read_text())["provenance"]
    assert record["resumed_after"] == [step]
    assert record["command"].endswith("run=cut")
    assert not (directory("cut") / "training").exists()
    assert not can_resume(directory("cut"))


@pytest.mark.full
def test_cut_again_and_again_and_the_newest_checkpoint_torn(
    whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_at(4, monkeypatch, *SHORT, "run=cut")
    folder = directory("cut") / "training"
    torn = folder / "000004" / "tensors.safetensors"
    torn.write_bytes(torn.read_bytes()[:-100])
    again = cut_at(5, monkeypatch, f"resume={directory('cut')}")
    assert (
        f"checkpoint {torn.parent}: tensors.safetensors is damaged or cut short; the one before it is used"
        in again.out
    )
    assert "resuming after step 3 of" in again.out
    assert sorted(p.name for p in folder.iterdir()) == ["000005", "000006"]
    for path in folder.rglob("state.json"):
        path.unlink()
    done = succeed("train", f"resume={directory('cut')}")
    assert "no valid checkpoint found; starting from step 0" in done.out
    assert outcome(directory("cut")) == whole


@pytest.mark.full
def test_an_exploration_that_is_cut_repeats_no_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    succeed("train", *SEARCH, *SHORT, "run=whole")
    fit, trained = Trainer.fit, []

    def counting(self: Trainer) -> Any:
        trained.append(self.settings.steps)
        if len(trained) == 3:
            raise Cut
        return fit(self)

    monkeypatch.setattr(Trainer, "fit", counting)
    assert run("train", *SEARCH, *SHORT, "run=cut").code == 2
    done = succeed("train", f"resume={directory('cut')}")
    assert trained == [2, 2, 2, 2, STEPS]  # two episodes, the one that was cut, and it again; then the run
    assert "resuming after step 0" in done.out
    assert outcome(directory("cut")) == outcome(directory("whole"))


@pytest.mark.full
@pytest.mark.parametrize("every", ["1e-9", "300"])
def test_cut_in_the_final_evaluation_no_step_is_repeated(
    whole: dict[str, Any], every: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = (*SHORT, f"trainer.checkpoint.every={every}")
    with monkeypatch.context() as patch:
        patch.setattr(stage_run, "apply_delta", raise_cut)
        assert run("train", *args, "run=cut").code == 2
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", raise_cut)
        succeed("train", f"resume={directory('cut')}")
    assert outcome(directory("cut")) == whole


def raise_cut(*args: object) -> None:
    raise Cut


@pytest.mark.full
def test_cut_in_the_report_only_that_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(stage_result, "write_report", raise_cut)
        assert run("train", *SHORT, "run=cut").code == 2
    assert can_resume(directory("cut"))
    done = succeed("train", f"resume={directory('cut')}")
    assert "that run has ended (completed); nothing is left to do" in done.out
    assert done.run_dir == str(directory("cut"))
    assert (directory("cut") / "report.html").is_file()
    assert not can_resume(directory("cut"))


@pytest.mark.full
def test_sigterm_leaves_what_can_be_resumed(whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    step_of = Trainer.step

    def interrupting(self: Trainer, number: int) -> dict[str, Any]:
        if number == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return step_of(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", interrupting)
        done = run("train", *SHORT, "run=cut", "trainer.checkpoint.every=300")
    assert (done.code, done.err.splitlines()[-1]) == (143, "terminated (SIGTERM)")
    reason = json.loads((directory("cut") / "results.json").read_text())["train"]["stop_reason"]
    assert reason == "terminated (SIGTERM)"
    assert f"resume: unlearnctl train resume={directory('cut')}" in done.out
    assert "resuming after step 3 of" in succeed("train", f"resume={directory('cut')}").out
    assert outcome(directory("cut")) == whole


@pytest.mark.full
def test_without_a_checkpoint_it_starts_from_step_0_in_the_same_directory(
    whole: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    never = (*SHORT, "trainer.checkpoint.every=0")
    cut_at(4, monkeypatch, *never, "run=cut")
    with (directory("cut") / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')  # what a kill leaves of a row
    assert not (directory("cut") / "training").exists()
    assert (
        "no valid checkpoint found; starting from step 0"
        in succeed("train", f"resume={directory('cut')}").out
    )
    assert '"st\n' not in (directory("cut") / "metrics.jsonl").read_text()
    assert outcome(directory("cut")) == whole


@pytest.mark.full
def test_a_disk_that_is_full_costs_the_checkpoint_not_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("unlearnctl.unlearning.checkpointer.write", full)
    done = succeed("train", *SHORT, "run=r")
    assert "training checkpoint: not written (No space left on device:" in done.out


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a run that was cut after three steps."""
    cut_at(3, monkeypatch, *SHORT, "run=cut")
    return directory("cut")


def refused(*args: str) -> str:
    done = run("train", *args)
    assert done.code == 2, done.out
    assert len(done.err.splitlines()) == 1, done.err
    return done.err


@pytest.mark.full
def test_what_does_not_fit_is_refused_before_weights_load(cut: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unlearnctl.models.shared_models.load_model", raise_cut)
    monkeypatch.setattr("unlearnctl.models.shared_models.load_trunk", raise_cut)
    alone = "a run is resumed with its own config"
    assert alone in refused(f"resume={cut}", "seed=1")
    assert alone in refused(f"resume={cut}", "trainer.steps=9", "tracker=none")
    assert "x: unknown key" in refused(f"resume={cut}", "+x=1")
    assert "config.yaml is missing" in refused("resume=nowhere")
    config = cut / "config.yaml"
    whole = config.read_text()
    config.write_text(whole.replace("seed: 0", "seed: 1", 1))
    assert "cannot be used: config.yaml was changed" in refused(f"resume={cut}")
    config.write_text(whole[: len(whole) // 2] + "\n: {[")
    assert "config.yaml cannot be read" in refused(f"resume={cut}")
    config.write_text("model: {}\n")
    assert "not a run of `unlearnctl train`" in refused(f"resume={cut}")
    config.write_text(whole)
    with monkeypatch.context() as patch:
        patch.setattr("unlearnctl.unlearning.session.identity", lambda spec: "other")
        assert "the base model's weights changed since this checkpoint" in refused(f"resume={cut}")
    with monkeypatch.context() as patch:
        patch.setattr("unlearnctl.data.streams.ForgetRetain.fingerprint", lambda self: "other")
        assert "the training data changed since this checkpoint" in refused(f"resume={cut}")
    assert "-m" in run("train", "-m", f"resume={cut},{cut}").err


@pytest.mark.full
def test_one_process_at_a_time(cut: Path) -> None:
    with locked(cut):
        assert f"process {os.getpid()} on {socket.gethostname()} is at work in it" in refused(f"resume={cut}")
    assert not (cut / "run.lock").exists()
    (cut / "run.lock").write_text(json.dumps({"pid": 1, "host": "elsewhere"}))
    assert "process 1 on elsewhere has this run; if that process is gone, delete" in refused(f"resume={cut}")
    (cut / "run.lock").write_text(
        json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
    )  # of a dead one
    done = succeed("train", f"resume={cut}", "tracker=none")
    assert "resuming after step 3" in done.out
    assert not (cut / "run.lock").exists()


@pytest.mark.full
def test_a_member_that_trained_side_by_side_resumes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    both = (*SHORT, "-m", "objective.alpha=1,10", "hydra/launcher=side_by_side")
    succeed("train", *both, "run=whole")
    cut_at(3, monkeypatch, *both, "run=cut")
    members = sorted(Path("outputs/train/sweep/cut").glob("*/config.yaml"))
    assert len(members) == 2
    for config in members:
        assert can_resume(config.parent)
        succeed("train", f"resume={config.parent}")
        assert outcome(config.parent) == outcome(Path("outputs/train/sweep/whole") / config.parent.name)


@pytest.mark.first(1)
@pytest.mark.parametrize("kinds", [("step",), ("write", "finish")])
def test_sigkill(kinds: tuple[str, ...]) -> None:
    """`python -m tests.unlearning.kill_trials` makes twenty trials."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-W", "ignore", "-m", "tests.unlearning.kill_trials"]
    done = subprocess.run(
        [*command, "--trials", str(len(kinds)), "--kinds", *kinds],
        cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(kinds)} trials, {len(kinds)} with the bytes of a run left alone" in done.stdout
