"""`unlearnctl reproduce`: runs what is missing, goes on after a cut, and gives the same bytes again."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.command import run, succeed
from unlearnctl.paths import conf_dir
from unlearnctl.reporting.tables.spec import read_table
from unlearnctl.stages import reproduce
from unlearnctl.stages.reproduce import compose_member

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


@pytest.fixture(autouse=True)
def _tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One quick table in place of the shipped ones; all other groups are the shipped ones."""
    monkeypatch.chdir(tmp_path)
    conf = tmp_path / "conf"
    conf.mkdir()
    for entry in conf_dir().iterdir():
        if entry.name != "table":
            (conf / entry.name).symlink_to(entry)
    (conf / "table").mkdir()
    (conf / "table/quick.yaml").write_text(TABLE)
    monkeypatch.setattr(reproduce, "conf_dir", lambda: conf)


def test_from_nothing_again_and_after_a_cut(tmp_path: Path) -> None:
    assert "to run: 6 of 6" in succeed("reproduce", "quick", "--plan").out
    assert not Path("outputs").exists()
    first = succeed("reproduce", "quick", "seeds=0")
    assert "| tinyworld | npo † |" in first.out
    made = {p.name: p.read_bytes() for p in Path("outputs/reproduce/tiny/tables").iterdir()}
    assert set(made) == {f"quick-tiny.{kind}" for kind in ("md", "tex", "csv", "html", "json")}
    stamps = {p: p.stat().st_mtime_ns for p in Path("outputs/reproduce/tiny").rglob("results.json")}
    (cut,) = Path("outputs/reproduce/tiny/repair").rglob("results.json")
    expected = cut.parent
    cut.unlink()  # as if it had been killed before its end
    assert "to run: 1 of 3" in succeed("reproduce", "quick", "seeds=0", "--plan").out
    succeed("reproduce", "quick", "seeds=0")
    assert (expected / "results.json").is_file()
    for path, stamp in stamps.items():
        assert (path.stat().st_mtime_ns == stamp) == (path != cut)
    again = {p.name: p.read_bytes() for p in Path("outputs/reproduce/tiny/tables").iterdir()}
    assert again == made
    only = succeed("reproduce", "quick", "seeds=0", "--from", "outputs/reproduce", "to=elsewhere")
    assert "elsewhere/quick-tiny.md" in only.out
    assert {p.name: p.read_bytes() for p in Path("elsewhere").iterdir()} == made


def test_a_run_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    file = tmp_path / "conf/table/quick.yaml"
    file.write_text(TABLE.replace("rmu: [objective=rmu]", "rmu: [objective=rmu, objective.layer=99]"))
    done = run("reproduce", "quick", "seeds=0")
    assert done.code == 2
    assert "1 of the table's runs failed: tinyworld-rmu-train-seed0-" in done.err
    assert "objective.layer=99" in done.err
    assert "| tinyworld | rmu | – |" in done.out
    assert "| tinyworld | npo † | –" not in done.out


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("quik",), "table=quik: unknown (did you mean 'quick'?)"),
        ((), "reproduce: name one table of quick"),
        (("quick", "scale=huge"), "scale=huge: unknown"),
        (("quick", "seeds=0,0"), "seeds=0,0: must be different whole numbers"),
        (("quick", "seed=0"), "seed: unknown key"),
        (("quick", "--from", "nowhere"), "none of its runs is in nowhere/tiny"),
        (("quick", "--from"), "--from: name the folder"),
    ],
)
def test_mistakes_are_one_line(args: tuple[str, ...], line: str) -> None:
    done = run("reproduce", *args)
    assert done.code == 2
    assert line in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("name", sorted(p.stem for p in (conf_dir() / "table").glob("*.yaml")))
def test_every_run_of_every_shipped_table_composes(name: str, tmp_path: Path) -> None:
    scales = yaml.safe_load((conf_dir() / f"table/{name}.yaml").read_text())["scales"]
    for scale in scales:
        spec = read_table(conf_dir() / "table", name, scale, [0])
        for member in spec.members():
            if member.step.of is None:  # what later steps work on
                (tmp_path / "train/x" / member.run).mkdir(parents=True, exist_ok=True)
            assert compose_member(spec, tmp_path, member).seed == 0


def test_the_paper_scale_is_planned_without_any_access(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reproduce, "conf_dir", conf_dir)
    out = succeed("reproduce", "knowledge", "scale=paper", "--plan").out
    assert "to run: 35 of 35" in out
    assert "GPU-hours" in out
