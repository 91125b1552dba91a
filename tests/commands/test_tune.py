"""`unlearnctl tune`: a search on the tiny world from the command to the recipe that `train` takes."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.command import run, succeed
from unlearnctl.models.partial.tapped import Prefix, TappedModel
from unlearnctl.tuning import trial_runs
from unlearnctl.tuning.score import NothingToForget

SPACE = (
    "tune.space=[{key: objective.alpha, low: 1, high: 1000, log: true}, {key: objective.layer, low: 0.2, high: 0.7}, "
    "{key: trainer.relative_lr, low: 0.001, high: 0.01}]"
)
ARGS = (
    "objective=rmu", SPACE, "trainer.steps=12", "trainer.device=cpu", "tune.together=4", "tune.looks=2", "run=a",
    "select={tinyworld: {split: val, limit: 20, parts: [mcq]}}", "tune.least=0",
)  # fmt: skip


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["tune.space=[]"], "tune.space: nothing to try"),
        (["objective=undial"], "tune.space: nothing to try"),
        (["select=null"], "select: settings must not be chosen on the items that are reported"),
        (["select={mmlu: {limit: 3}}"], "select.mmlu: not a suite of eval; it has tinyworld"),
        (["tune.minutes=0"], "tune.minutes=0: must be a positive number"),
        (["tune.looks=1000"], "tune.looks=1000: at most one a step, and trainer.steps="),
        (["trainer=meta"], "trainer=meta: learns settings by itself"),
        (["tune.mintes=3"], "tune.mintes"),
        (["-m", "seed=0"], "unlearnctl tune: one search at a time; leave out -m"),
    ],
)
def test_what_cannot_be_searched_is_one_line(
    args: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = (
        run("tune", "objective=rmu", SPACE, *args) if "objective=undial" not in args else run("tune", *args)
    )
    assert done.code == 2, done.out
    assert line in done.err
    assert not list(tmp_path.rglob("recipe.yaml"))


def test_what_was_typed_is_not_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    keys = ("objective.alpha=1", "trainer.optimizer.lr=0.001", "trainer.train_from=2", "trainer.steps=9")
    done = run("tune", "objective=grad_diff", *keys)
    assert done.code == 2
    assert (
        "tune.space: all of it was typed (objective.alpha, trainer.relative_lr, trainer.train_from"
        in done.err
    )
    args = [arg for arg in ARGS if arg not in (SPACE, "trainer.steps=12")]
    done = succeed("tune", *args, "objective.layer=4", "trainer.steps=4", "tune.trials=2")
    assert (
        "trying objective.steering_coeff, objective.relative, objective.alpha, trainer.relative_lr;"
        in done.out
    )


def passes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Write down each pass over frozen blocks that is made for training."""
    found: list[str] = []
    plain = TappedModel._prefix

    def counted(self: TappedModel, *args: Any, **kwargs: Any) -> Prefix:
        found.append("prefix")
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(TappedModel, "_prefix", counted)
    return found


@pytest.mark.full
def test_a_search_writes_a_recipe_is_continued_and_the_recipe_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    counted = passes(monkeypatch)
    out = succeed("tune", *ARGS, "tune.trials=4").out
    # Four trials of twelve steps: each side's frozen blocks run once a step for all of them.
    assert counted == ["prefix"] * 2 * 12
    root = Path("outputs/tune/tinyworld-tinyworld_hazard-rmu/a")
    assert out.count(": score ") == 4
    assert out.count("step 6 of 12") == 4
    early = {f"{int(number):03d}" for number in re.findall(r"trial (\d+): score .* \(stopped early\)", out)}
    scored = {path.parent.name for path in root.glob("train/trials/*/results.json")}
    assert scored == {f"00{i}" for i in range(4)} - early  # nobody waits for scores of what was stopped
    page = (root / "search.html").read_text()
    assert set(re.findall(r'href="train/trials/(\d+)/report.html"', page)) == scored
    assert "the search ended: all 4 trials are done" in out
    assert f"page: {root}/search.html" in out
    found = yaml.safe_load((root / "recipe.yaml").read_text())
    assert set(found) == {"objective", "trainer"}
    trial = yaml.safe_load((root / "train/trials/000/config.yaml").read_text())
    assert trial["eval"]["tinyworld"]["split"] == "val"
    assert trial["trainer"]["monitor"]["every"] == 6
    assert "tune" not in trial
    # The first trial is the shipped recipe, whose absolute rate is replaced by relative ones in the others.
    assert (trial["objective"]["alpha"], trial["trainer"]["optimizer"]["lr"]) == (150.0, 5e-3)
    other = yaml.safe_load((root / "train/trials/001/config.yaml").read_text())["trainer"]
    assert other["optimizer"]["lr"] is None
    assert 0.001 <= other["relative_lr"] <= 0.01
    again = succeed("tune", *ARGS, "tune.trials=5").out
    assert again.count(": score ") == 1
    assert sorted(path.name for path in (root / "train/trials").iterdir()) == [f"00{i}" for i in range(5)]
    done = succeed(
        "train", "objective=rmu", f"recipe={root}/recipe.yaml", "eval=[smoke]", "trainer.steps=2", "run=b"
    )
    config = yaml.safe_load((Path(done.run_dir) / "config.yaml").read_text())
    best = yaml.safe_load((root / "recipe.yaml").read_text())["objective"]["alpha"]
    assert config["objective"]["alpha"] == best
    assert config["trainer"]["steps"] == 2
    assert (config["trainer"]["optimizer"]["lr"] is None) != (config["trainer"]["relative_lr"] is None)


def test_a_look_alone_needs_no_space_no_suite_and_no_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = succeed("tune", "objective=undial", "eval=[]", "select=null", "tune.trials=0", "run=a").out
    assert "looking at the untouched model" in out
    assert "told apart: 64 forget and 64 retain texts" in out
    assert "This suggests" in out
    root = Path("outputs/tune/tinyworld-tinyworld_hazard-undial/a")
    assert len(json.loads((root / "look.json").read_text())["blocks"]) == 8
    assert not (root / "study.log").exists()
    again = succeed("tune", "objective=undial", "eval=[]", "select=null", "tune.trials=0", "run=a").out
    assert "looking at" not in again
    assert "This suggests" in again


def test_nothing_to_forget_is_said_before_a_trial_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def guesses(rows: object) -> None:
        raise NothingToForget("nothing to forget here: the untouched model only guesses")

    monkeypatch.setattr(trial_runs, "check_base", guesses)
    done = run("tune", *ARGS, "tune.trials=4")
    assert done.code == 2
    assert done.err == "error: nothing to forget here: the untouched model only guesses\n"
    root = Path("outputs/tune/tinyworld-tinyworld_hazard-rmu/a/train/trials")
    logs = [path.read_text() for path in root.glob("*/metrics.jsonl")]
    assert not any('"kind": "train"' in log for log in logs)


def test_ctrl_c_ends_the_search_and_the_same_command_continues_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    args = (*ARGS, "trainer.steps=2", "tune.looks=2", "tune.together=2", "tune.trials=4")
    plain = trial_runs.search_score

    def pressed(*args: Any) -> float:
        os.kill(os.getpid(), signal.SIGINT)
        return plain(*args)

    with monkeypatch.context() as patch:
        patch.setattr(trial_runs, "search_score", pressed)
        done = run("tune", *args)
    assert done.code == 130, done.err
    root = Path("outputs/tune/tinyworld-tinyworld_hazard-rmu/a")
    assert sorted(path.name for path in (root / "train/trials").iterdir()) == ["000", "001"]
    assert "the search ended: all 4 trials are done" in succeed("tune", *args).out


@pytest.mark.full
def test_a_search_that_finds_nothing_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("tune", *ARGS, "tune.trials=2", "tune.least=0.999")
    assert done.code == 2
    assert "not found within the budget: the best score is 0." in done.err
    assert "Not found within the budget" in Path(done.out.partition("page: ")[2].split()[0]).read_text()
    assert not list(tmp_path.rglob("recipe.yaml"))
