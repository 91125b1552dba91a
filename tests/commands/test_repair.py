"""`unlearnctl repair` on a run and on two folders; the result is a checkpoint like any other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.command import QUICK, run, succeed
from unlearnctl.models.delta import read_delta

SMALL = ("eval=[smoke]", "strengths=[0.1,1]", "select=null", "sequences=32", "device=cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("source")
    return succeed("train", *QUICK, "objective=grad_diff", f"output_dir={folder}", "run=r").run_dir


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def results(folder: str) -> dict:
    return json.loads((Path(folder) / "results.json").read_text())


def test_a_run_is_repaired_and_exported(trained: str) -> None:
    done = succeed("repair", f"run_dir={trained}", *SMALL)
    record = results(done.run_dir)
    assert [row["strength"] for row in record["repair"]["curve"]] == [0.0, 0.1, 1.0]
    damage = [row["damage"] for row in record["repair"]["curve"]]
    assert damage == sorted(damage, reverse=True)
    assert damage[2] < damage[0]
    assert (
        set(record["unlearned"]["smoke"]) == set(record["after"]["smoke"]) == set(record["before"]["smoke"])
    )
    for name in ("report.html", "repair_curve.csv", "repair_curve.png", "checkpoint/delta.json"):
        assert (Path(done.run_dir) / name).is_file(), name
    succeed("export", f"run={done.run_dir}", "to=merged")
    again = succeed("eval", "model=local", "model.path=merged", "model.dtype=float32", "eval=[smoke]").run_dir
    assert results(again)["after"] == record["after"]


@pytest.mark.full
def test_no_repair_gives_back_the_run_and_a_strong_one_the_base(trained: str) -> None:
    source, _ = read_delta(Path(trained) / "checkpoint")
    none = succeed("repair", f"run_dir={trained}", *SMALL, "strength=0").run_dir
    tensors, _ = read_delta(Path(none) / "checkpoint")
    assert all(torch.equal(tensors[name], source[name]) for name in source)
    strong = succeed(
        "repair", f"run_dir={trained}", *SMALL, "strength=1e12", "repair=task_arithmetic", "run=x"
    )
    record = results(strong.run_dir)
    assert record["repair"]["curve"] == []
    assert all(m["damage_after"] <= 1e-12 * m["damage_before"] for m in record["repair"]["modules"].values())


@pytest.mark.full
def test_two_folders_give_what_the_run_gives(trained: str) -> None:
    succeed("export", f"run={trained}", "to=unlearned")
    from unlearnctl.tinyworld import model_dir

    fixed = ("strength=0.5", *SMALL)
    by_run = succeed("repair", f"run_dir={trained}", *fixed).run_dir
    by_folder = succeed(
        "repair", f"model.path={model_dir()}", "model.dtype=float32", "unlearned=unlearned", *fixed, "run=f"
    ).run_dir
    a, b = (read_delta(Path(folder) / "checkpoint")[0] for folder in (by_run, by_folder))
    changed = {name for name in a if name in b}
    assert set(b) <= set(a)  # a run also names tensors that rounding left as they were
    assert changed
    assert all(torch.equal(a[name], b[name]) for name in changed)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "a run or unlearned=: give one"),
        (("run_dir=nowhere",), "run_dir=nowhere: no run directory there"),
        (("model.path={base}", "unlearned={base}"), "unlearned="),
        (("model.path={base}", "unlearned=nowhere"), "unlearned=nowhere: no such folder"),
        (("run_dir={run}", "strength=-1"), "strength=-1: must be a number, 0 or more"),
        (("run_dir={run}", "strengths=[a]"), "strengths=['a']: must be a list of numbers"),
        (("run_dir={run}", "sequences=0"), "sequences=0: must be a whole number"),
        (("run_dir={run}", "repair.energy=2"), "repair.energy=2: must be a number, above 0 and at most 1"),
        (("run_dir={run}", "repair=sagee"), "repair=sagee: unknown"),
        (("run_dir={run}", "eval=[]"), "eval=[]: nothing to choose"),
    ],
)
def test_mistakes_are_one_line(args: tuple[str, ...], message: str, trained: str) -> None:
    from unlearnctl.tinyworld import model_dir

    filled = [arg.replace("{run}", trained).replace("{base}", str(model_dir())) for arg in args]
    done = run("repair", *SMALL, *filled)
    assert done.code == 2
    assert done.err.startswith(f"error: {message}"), done.err
    assert not Path("outputs").exists()
