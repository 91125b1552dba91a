"""`unlearnctl reproduce`: runs what is missing, continues after an interruption, and gives the same bytes again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import psutil
import pytest
import yaml

from tests.command import run, succeed
from unlearnctl.commands.reproduce import options
from unlearnctl.tables.jobs import _start_worker
from unlearnctl.tables.missing import Place, chains, compose_member
from unlearnctl.tables.read import read_table
from unlearnctl.utils.paths import conf_dir

QUICK = "trainer.device=cpu, trainer.steps=3, trainer.global_batch=4, trainer.monitor.every=0, 'eval=[smoke]'"
TABLE = f"""
title: Quick
about: Three steps.
scales:
  tiny:
    models: [tinyworld]
    seeds: [0, 1]
    common: {{train: [{QUICK}], repair: ['eval=[smoke]', device=cpu, select=null, 'strengths=[1]', sequences=8]}}
    columns:
      - {{title: hazard, metric: smoke/hazard_acc, goal: lower}}
rows:
  base:
  rmu: [objective=rmu]
  npo: {{train: [objective=npo], repair: [repair=task_arithmetic], reading: true}}
"""


HERE = ("--config-dir", "conf")


@pytest.fixture(autouse=True)
def _table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("conf/table").mkdir(parents=True)
    Path("conf/table/quick.yaml").write_text(TABLE)


def made(folder: str = "outputs/reproduce/tiny/tables") -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in Path(folder).iterdir()}


def test_from_nothing_again_and_after_a_cut(tmp_path: Path) -> None:
    assert "to run: 6 of 6" in succeed("reproduce", "quick", "--plan", *HERE).out
    assert not Path("outputs").exists()
    first = succeed("reproduce", "quick", "seeds=0", "jobs=1", *HERE)
    assert "| tinyworld | npo † |" in first.out
    whole = made()
    assert set(whole) == {f"quick-tiny.{kind}" for kind in ("md", "tex", "csv", "html", "json")}
    stamps = {p: p.stat().st_mtime_ns for p in Path("outputs/reproduce/tiny").rglob("results.json")}
    (cut,) = Path("outputs/reproduce/tiny/repair").rglob("results.json")
    expected = cut.parent
    cut.unlink()  # as if it had been killed before its end
    kept = expected / "kept"
    kept.touch()
    assert "to run: 1 of 3" in succeed("reproduce", "quick", "seeds=0", "--plan", *HERE).out
    succeed("reproduce", "quick", "seeds=0", *HERE)
    assert (expected / "results.json").is_file()
    assert kept.exists()  # it continued from where it was, and did not start over
    for path, stamp in stamps.items():
        assert (path.stat().st_mtime_ns == stamp) == (path != cut)
    assert made() == whole
    only = succeed("reproduce", "quick", "seeds=0", "--from", "outputs/reproduce", "to=elsewhere", *HERE)
    assert "elsewhere/quick-tiny.md" in only.out
    assert made("elsewhere") == whole


@pytest.mark.full
def test_a_run_that_fails_does_not_stop_the_others() -> None:
    Path("conf/table/quick.yaml").write_text(
        TABLE.replace("rmu: [objective=rmu]", "rmu: [objective=rmu, objective.layer=99]")
    )
    done = run("reproduce", "quick", "seeds=0", "jobs=1", *HERE)
    assert done.code == 2
    assert "1 of the table's runs are not done: tinyworld-rmu-train-seed0-" in done.err
    assert "objective.layer=99" in done.err
    assert "| tinyworld | rmu | – |" in done.out
    assert "| tinyworld | npo † | –" not in done.out


FIRST = f"""
title: First
about: Three steps from a model that two steps made.
scales:
  small:
    models: [tinyworld]
    seeds: [0]
    made: {{full: [{QUICK}, objective=nll, data.retain.path=$DATA/texts.jsonl, trainer.steps=2]}}
    common: {{train: [{QUICK}, model.path=$full]}}
    seconds: {{full: 600, train: 60}}
    columns: [{{title: hazard, metric: smoke/hazard_acc, goal: lower}}]
rows: {{base: , made: {{made: full}}, rmu: [objective=rmu]}}
"""


@pytest.mark.full
def test_a_model_is_made_first_from_local_files_that_may_move(tmp_path: Path) -> None:
    Path("conf/table/first.yaml").write_text(FIRST)
    (tmp_path / "my data").mkdir()
    (tmp_path / "my data/texts.jsonl").write_text('{"text": "The otter eats the fish ."}\n' * 4)
    command = ("reproduce", "first", "jobs=1", *HERE)
    plan = succeed(*command, "data=my data", "--plan").out
    assert "to run: 2 of 2" in plan
    assert "1 model × 1 row × 1 seed, and 1 model made first: about" in plan
    shown = succeed(*command, "data=my data").out
    (made,) = Path("outputs/reproduce/small/models").iterdir()
    (config,) = Path("outputs/reproduce/small/train").glob("*/*-rmu-train-seed0-*/config.yaml")
    assert f"  path: {made}\n" in config.read_text()
    assert "command: unlearnctl reproduce first scale=small data=DIR" in shown
    assert str(tmp_path) not in shown
    (tmp_path / "my data").rename(tmp_path / "moved")
    stamps = {p: p.stat().st_mtime_ns for p in Path("outputs").rglob("results.json")}
    assert succeed(*command, "data=moved").out == shown
    assert {p: p.stat().st_mtime_ns for p in Path("outputs").rglob("results.json")} == stamps


COMMAND = [sys.executable, "-m", "unlearnctl", "reproduce", "quick", *HERE, "jobs=2"]
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}  # rounding may differ with more


def test_workers_show_no_bars_of_libraries() -> None:
    """They may build a tiny model before the first run of a table."""
    from transformers.utils.logging import is_progress_bar_enabled

    with ProcessPoolExecutor(1, get_context("spawn"), _start_worker) as pool:
        assert not pool.submit(is_progress_bar_enabled).result()


@pytest.mark.full
def test_processes_cut_short_leave_nothing_behind_and_the_same_table() -> None:
    """Killed, then interrupted, then left alone: the bytes of a command that nobody touched."""
    succeed("reproduce", "quick", *HERE, "jobs=1", "to=undisturbed", "output_dir=other")
    for number, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)):
        with Path("log").open("w") as log:
            process = subprocess.Popen(COMMAND, env=ONE_THREAD, stdout=log, stderr=log)
        before = len(finished())
        while len(finished()) == before:
            assert process.poll() is None, Path("log").read_text()
            time.sleep(0.05)
        below = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        assert process.wait(60) == code
        _, alive = psutil.wait_procs(below, timeout=60)
        assert not alive
    assert 2 <= len(finished()) < 6
    subprocess.run(COMMAND, env=ONE_THREAD, check=True, capture_output=True)
    assert made() == made("undisturbed")


def finished() -> list[Path]:
    return [*Path("outputs/reproduce/tiny").glob("*/*/*/results.json")]


def test_a_chain_is_a_train_run_and_what_works_on_it() -> None:
    spec = read_table(options("table", Path("conf")), "quick", "tiny")
    steps = [
        [(member.row, member.seed, member.step.name) for member in chain] for chain in chains(spec.members())
    ]
    npo = [[("npo", seed, "train"), ("npo", seed, "repair")] for seed in (0, 1)]
    assert steps == [[("rmu", 0, "train")], npo[0], [("rmu", 1, "train")], npo[1]]


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("quik",), "table=quik: unknown (did you mean 'quick'?)"),
        ((), "reproduce: name one table of atwu, "),
        (("quick", "scale=huge"), "scale=huge: unknown"),
        (("quick", "seeds=0,0"), "seeds=0,0: must be different whole numbers"),
        (("quick", "jobs=none"), "jobs=none: must be a whole number of processes, 1 or more"),
        (("quick", "jobs=0"), "jobs=0: must be a whole number of processes, 1 or more"),
        (("quick", "seed=0"), "seed: unknown key"),
        (("quick", "models=tinywrld"), "models=tinywrld: unknown (did you mean 'tinyworld'?)"),
        (("quick", "--from", "nowhere"), "none of its runs is in nowhere/tiny"),
        (("quick", "--from"), "--from: name the folder"),
        (("quick", "model_path=nowhere"), "nowhere: no such folder or GGUF file"),
    ],
)
def test_mistakes_are_one_line(args: tuple[str, ...], line: str) -> None:
    done = run("reproduce", *HERE, *args)
    assert done.code == 2
    assert line in done.err
    assert done.err.count("\n") == 1


COMPOSED: set[tuple[object, ...]] = set()


@pytest.mark.full
@pytest.mark.parametrize("name", sorted(p.stem for p in (conf_dir() / "table").glob("*.yaml")))
def test_every_run_of_every_shipped_table_composes(name: str, tmp_path: Path) -> None:
    """Tables share runs: what differs from a config composed before in its name alone is not composed again."""
    scales = yaml.safe_load((conf_dir() / f"table/{name}.yaml").read_text())["scales"]
    for scale in scales:
        spec = read_table(options("table"), name, scale, [0])
        for member in spec.members():
            if member.step.of is None:  # what later steps work on
                (tmp_path / "train/x" / member.run).mkdir(parents=True, exist_ok=True)
            content = (member.step.verb, member.model, tuple(member.settings), member.base is None)
            if content not in COMPOSED:
                assert compose_member(Place(tmp_path), member).seed == 0
                COMPOSED.add(content)


@pytest.mark.full
@pytest.mark.parametrize(("name", "runs"), [("knowledge", 35), ("cross_task", 40), ("robustness", 60)])
def test_the_paper_scale_is_planned_without_any_access(name: str, runs: int) -> None:
    out = succeed("reproduce", name, "scale=paper", "--plan").out
    assert f"to run: {runs} of {runs}" in out
    assert "GPU-hours" in out


def test_cross_task_shares_the_runs_of_the_other_two_tables() -> None:
    for scale in ("tiny", "small", "paper"):
        keys = {
            name: {m.key for m in read_table(options("table"), name, scale).members()}
            for name in ("knowledge", "toxicity", "cross_task")
        }
        models = len(read_table(options("table"), "cross_task", scale).models)
        seeds = len(read_table(options("table"), "cross_task", scale).seeds)
        # knowledge: rmu_cosine, rmu, npo, grad_diff; toxicity: rmu_cosine, probe_directions, npo
        assert len(keys["cross_task"] & keys["knowledge"]) == 4 * models * seeds
        assert len(keys["cross_task"] & keys["toxicity"]) == 3 * models * seeds
