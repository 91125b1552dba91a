"""The page of very many runs: small, with each number once, and what has no room is counted."""

import io
import json
import shutil
import subprocess

import pytest
from rich.console import Console

from tests.reporting.many import unpack, write_many
from tests.reporting.test_site import Page, make_page
from unlearnctl.reporting.page import TEMPLATES
from unlearnctl.reporting.reports import report
from unlearnctl.reporting.site.pack import FEWEST, POINTS, Once, curve, points_each, shared
from unlearnctl.reporting.summary import Summary, find_runs, summarise
from unlearnctl.reporting.summary_terminal import MOST
from unlearnctl.results.trade_off import Trade, front

RUNS = 120
SCALE = RUNS / 1_000


@pytest.fixture(scope="module")
def crowd(tmp_path_factory, make):
    """Runs of 150 steps whose scores, curves and replies all differ; two thirds have 57 subjects."""
    root = tmp_path_factory.mktemp("crowd")
    for place in range(RUNS):
        body = make.results(layer=place % 7, alpha=1.1 ** (place % 43), progress=0.2 + 0.7 * place / RUNS)
        body["config"]["seed"] = place // 43
        if place % 3:
            for part in ("before", "after"):
                parts = {
                    f"mmlu/subject_{n}": make.metric(0.25 + n / 99 + place / 9e3, 0.02, 99, 0.25)
                    for n in range(57)
                }
                body[part]["mmlu"] = {"mmlu": make.metric(0.55, 0.01, 300, 0.25), **parts}
        rows = [
            {**row, "loss": row["loss"] * (1 + place / RUNS)} if "loss" in row else row
            for row in make.history()
        ]
        run = make.write_run(root / f"run{place:04d}", body, rows)
        replies = [
            {"prompt": f"Prompt {n}: {'word ' * 30}", "reply": f"{place} {n} {'said ' * 40}"}
            for n in range(8)
        ]
        (run / "samples.json").write_text(json.dumps({"after": {"toxicity": {"prob": replies}}}))
    return root


def test_a_page_of_many_runs_stays_small_and_keeps_every_run(crowd, monkeypatch):
    """A thousand runs have 3 MB; here the bounds and the number of runs are in proportion."""
    monkeypatch.setattr("unlearnctl.reporting.site.pack.PAGE", 2_400_000 * SCALE)
    monkeypatch.setattr("unlearnctl.reporting.site.pack.LEAST", 700_000 * SCALE)
    out = io.StringIO()
    *_, path = report([crowd], Console(file=out, width=100))
    text = path.read_text(encoding="utf-8")
    assert len(text.encode()) < 60_000 + 2_900_000 * SCALE  # our script and style take the first
    parsed = Page(text)
    data = unpack(json.loads(parsed.scripts[0]))
    assert len([row for row in parsed.rows if row and str(row[-1]).startswith("run")]) == RUNS
    assert len(data["runs"]) == RUNS
    assert all(len(run["values"]) == len(data["axes"]) for run in data["runs"])
    for run in data["runs"]:
        assert list(run["curves"])[:2] == ["loss: total", "loss: forget"]
        assert FEWEST <= len(run["curves"]["loss: total"]) <= POINTS
        assert run["curves"]["loss: total"][-1][0] == 150
        assert run["curves"]["lr"][0][1] == run["curves"]["lr"][-1][1] == 0.001
    having = sum(bool(run["samples"]) for run in data["runs"])
    assert 0 < having < RUNS
    assert data["left_out"]["samples"] == RUNS - having
    assert f"{RUNS - having} runs have no room here" in " ".join(parsed.text)
    assert sum(bool(run["subjects"]) for run in data["runs"]) == RUNS * 2 // 3 - data["left_out"]["subjects"]
    said = out.getvalue().splitlines()
    assert f"{RUNS - MOST} more runs in summary.csv." in " ".join(out.getvalue().split())
    assert len(said) < MOST + 20


@pytest.mark.skipif(not shutil.which("node"), reason="no node on PATH")
def test_the_script_unpacks_what_python_packed(tmp_path, make):
    root = write_many(tmp_path / "many", make)
    *_, path = report([root], Console(file=io.StringIO()))
    raw = Page(path.read_text(encoding="utf-8")).scripts[0]
    code = (TEMPLATES / "site/unpack.js").read_text() + f"\nconsole.log(JSON.stringify(unpack({raw})))"
    (tmp_path / "code.js").write_text(code)
    done = subprocess.run(
        ["node", str(tmp_path / "code.js")], capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(done.stdout) == json.loads(json.dumps(unpack(json.loads(raw))))


def test_runs_that_differ_in_nothing_are_named_by_their_folders(tmp_path, make):
    for place in range(2):
        make.write_run(tmp_path / f"twin{place}")
    _, data, _ = make_page(tmp_path)
    assert [run["label"] for run in data["runs"]] == ["twin0", "twin1"]


def test_points_are_shared_out_and_heights_that_agree_stand_once():
    assert points_each([300, 300, 5], 10**6) == POINTS
    assert points_each([300, 300, 5], 7 * (2 * 40 + 5)) == 40
    assert points_each([300] * 50, 0) == FEWEST
    grids = Once()
    assert curve([(1, 0.5), (2, 0.5), (3.5, 0.5)], grids) == [0, 0.5]
    assert curve([(1, 0.123456), (2, 3.0), (3.5, 4.0)], grids) == [0, 0.12346, 3, 4]
    assert grids.all == [(1, 2, 3.5)]
    assert shared([None, None]) is None
    assert shared([1, 2]) == [1, 2]
    assert shared([]) == []


def test_the_front_of_very_many_is_that_of_a_plain_search(make, tmp_path):
    points = [Trade((37 * i % 101) / 101, (61 * i % 89) / 89) for i in range(400)]
    plain = {p for p in points if not any(q != p and q[0] >= p[0] and q[1] >= p[1] for q in points)}
    assert front(points) == sorted(plain)
    for place in range(12):
        make.write_run(tmp_path / str(place), make.results(layer=place, progress=(5 * place % 12) / 12))
    found: Summary = summarise(find_runs(tmp_path))
    scores = [
        tuple(m.rows["tinyworld", name].after.value for name in ("hazard_acc", "benign_acc"))
        for m in found.members
    ]
    best = {
        i for i, p in enumerate(scores) if not any(q != p and q[0] <= p[0] and q[1] >= p[1] for q in scores)
    }
    assert found.front == best
