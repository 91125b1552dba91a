"""The robustness table: what it shows, escapes and leaves out."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from rich.console import Console

from tests.reporting.conftest import accuracy, results
from unlearnctl.reporting import html
from unlearnctl.reporting.recovered import bounds, cell, page_table, print_robustness
from unlearnctl.reporting.recovered_files import relearning, write_robustness
from unlearnctl.results.run import Run


def attacked(**more: object) -> dict:
    """Two relearning steps, the second the worst, and a probe with a score of its own."""

    def scores(hazard: float) -> dict:
        return {
            "tinyworld": {"hazard_acc": accuracy(hazard, 90, "forget", "lower"), "benign_acc": accuracy(0.9)}
        }

    rows = [
        {
            "attack": "relearn", "variant": f"<b>, lr 0.1, step {step}", "scores": scores(value), "worst": step == 9,
            "settings": {"corpus": "<b>", "lr": 0.1, "step": step}, "recovery": value,
        }
        for step, value in ((3, 0.4), (9, 0.7))
    ]  # fmt: skip
    probe = {"latent": {"probe_acc": {**accuracy(0.5, 20, "forget", "lower"), "interval": [0.3, 0.7]}}}
    rows.append(
        {
            "attack": "latent",
            "variant": "layer 1",
            "scores": probe,
            "settings": {},
            "recovery": None,
            "worst": False,
        }
    )
    return {**results(), "attacks": rows, **more}


def test_bounds_are_the_recorded_interval_or_from_the_error() -> None:
    assert bounds({"value": 0.5, "stderr": 0.1, "interval": [0.2, 0.6]}) == (0.2, 0.6)
    assert bounds({"value": 0.5, "stderr": 0.1, "interval": None}) == (0.5 - 0.196, 0.5 + 0.196)
    assert bounds({"value": 0.99, "stderr": 0.1, "chance": 0.25}) == (0.99 - 0.196, 1.0)
    assert bounds({"value": 0.5, "stderr": None}) == (None, None)
    assert bounds({"value": None, "stderr": 0.1}) == (None, None)
    assert cell(("a", {"value": 0.5, "stderr": None})) == "0.500"
    assert cell(("a", {"value": None})) == cell(None) == "–"


def test_the_table_fits_80_columns_and_says_n_and_chance() -> None:
    console = Console(file=io.StringIO(), width=80)
    print_robustness(attacked(), console)
    out = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(len(line) <= 80 for line in out.splitlines())
    assert "0.70 [0.61, 0.79]   70 %" in out
    assert "hazard_acc (n 90, chance 0.25)" in " ".join(out.split())
    assert "probe_acc (n 20, chance 0.25)" in " ".join(out.split())


def test_files(tmp_path: Path) -> None:
    table, picture = write_robustness(tmp_path, attacked())
    lines = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert [line["worst"] for line in lines if line["variant"].endswith("step 9")] == ["True", "True"]
    assert lines[-1]["metric"] == "probe_acc"
    assert (lines[-1]["low"], lines[-1]["high"]) == ("0.3", "0.7")
    assert picture.stat().st_size > 1000
    assert write_robustness(tmp_path, results()) == []
    assert page_table(results()) is None


def test_without_a_base_or_a_curve(tmp_path: Path) -> None:
    record = attacked()
    del record["before"]
    record["attacks"] = record["attacks"][2:]
    assert len(write_robustness(tmp_path, record)) == 2
    assert relearning(record) == {}


def test_curves_start_at_the_unlearned_model() -> None:
    record = attacked()
    ((name, points),) = relearning(record).items()
    assert name == "<b>, lr 0.1"
    assert [step for step, _ in points] == [0, 3, 9]
    assert points[0][1] == record["after"]["tinyworld"]["hazard_acc"]["value"]


def test_the_page_escapes_what_runs_were_called(tmp_path: Path) -> None:
    page = html.render(Run(tmp_path, attacked()))
    assert '<h2 id="robustness">' in page
    assert "&lt;b&gt;, lr 0.1, step 9" in page
    assert "<b>, lr" not in page
    assert '<h2 id="robustness">' not in html.render(Run(tmp_path, results()))
