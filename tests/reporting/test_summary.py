"""Many runs: only what differs is a column, failures are listed, files read back."""

import csv
import io

import matplotlib.image
import pytest
from rich.console import Console

from unlearnctl.reporting.reports import report
from unlearnctl.reporting.summary import find_runs, summarise
from unlearnctl.reporting.summary_files import markdown, write_summary
from unlearnctl.reporting.summary_terminal import print_summary
from unlearnctl.utils.errors import UserError


@pytest.fixture
def sweep(tmp_path, make):
    """layer 4, 10, 2 by alpha 1, 0.5, one member that failed."""
    for i, (layer, alpha) in enumerate([(4, 1.0), (10, 1.0), (2, 1.0), (4, 0.5), (10, 0.5), (2, 0.5)]):
        progress = 0.2 + 0.1 * i
        make.write_run(tmp_path / f"{i}", make.results("rmu", layer, alpha, progress))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.yaml").write_text("seed: 0")
    return tmp_path


def test_columns_are_the_differing_keys_and_rows_are_sorted_as_numbers(sweep):
    summary = summarise(find_runs(sweep))
    assert summary.keys == summary.columns == ["objective.layer", "objective.alpha"]
    order = [(m.config["objective.layer"], m.config["objective.alpha"]) for m in summary.members]
    assert order == [(2, 0.5), (2, 1.0), (4, 0.5), (4, 1.0), (10, 0.5), (10, 1.0)]
    assert [(path.name, why) for path, why in summary.failed] == [("broken", "no results.json")]


def test_a_group_name_stands_for_its_defaults(tmp_path, make):
    runs = []
    for objective, layer, lr in (("rmu", 3, 0.1), ("npo", 5, 0.2)):
        body = make.results(objective, layer)
        body["config"]["trainer"]["lr"] = lr
        body["config"]["name"] = f"tinyworld-{objective}"
        runs.append(make.write_run(tmp_path / objective, body))
    summary = summarise(runs)
    assert summary.columns == ["objective.name", "trainer.lr"]
    assert "objective.layer" in summary.keys


def test_of_too_many_settings_the_names_the_seed_and_the_common_ones_are_columns(tmp_path, make):
    runs = []
    for number, objective in enumerate(("rmu", "npo", "npo")):
        body = make.results(objective, 3)
        config = body["config"]
        config["objective"] = {f"own{i}": i + number for i in range(4)} if objective == "npo" else {}
        config["objective"]["name"] = objective
        config["trainer"] |= {f"shared{i}": i + number for i in range(6)}
        config["seed"] = number
        runs.append(make.write_run(tmp_path / str(number), body))
    summary = summarise(runs)
    assert summary.columns == ["objective.name", *(f"trainer.shared{i}" for i in range(6)), "seed"]
    assert "objective.own0" in summary.keys


def test_csv_reads_back_with_full_precision(sweep):
    summary = summarise(find_runs(sweep))
    write_summary(summary, sweep)
    rows = list(csv.DictReader(io.StringIO((sweep / "summary.csv").read_text(encoding="utf-8"))))
    assert len(rows) == 7
    assert rows[0]["objective.layer"] == "2"
    after = summary.members[0].rows["tinyworld", "hazard_acc"].after.value
    assert float(rows[0]["tinyworld.hazard_acc.after"]) == after
    assert rows[-1]["status"] == "failed: no results.json"


def test_markdown_is_one_table_and_survives_pipes(tmp_path, make):
    runs = [make.write_run(tmp_path / str(i), make.results(f"a|b<script>{i}`")) for i in range(2)]
    text = markdown(summarise(runs))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert "<script" not in text
    assert "0.978 → 0.267 ± 0.053" in text


def test_terminal_table_fits_80_columns(sweep):
    file = io.StringIO()
    print_summary(summarise(find_runs(sweep)), Console(file=file, width=80))
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    (row,) = [line for line in lines if line.split()[1:3] == ["2", "0.5"]]
    assert row.split()[-1].replace(".", "").isdigit()
    assert "broken: no results.json" in " ".join(file.getvalue().split())


def test_front_marks_the_unbeaten(tmp_path, make):
    runs = []
    for i, (hazard, benign) in enumerate([(0.3, 0.9), (0.5, 0.95), (0.5, 0.9), (float("nan"), 0.99)]):
        body = make.results(layer=i)
        body["after"]["tinyworld"]["hazard_acc"]["value"] = hazard
        body["after"]["tinyworld"]["benign_acc"]["value"] = benign
        runs.append(make.write_run(tmp_path / str(i), body))
    assert summarise(runs).front == {0, 1}


def test_scatter_is_a_picture(sweep):
    paths = report([sweep], Console(file=io.StringIO()))
    assert [path.name for path in paths] == [
        "summary.md", "summary.csv", "summary.png", "pareto.png", "parallel.png", "report.html"
    ]  # fmt: skip
    assert matplotlib.image.imread(sweep / "summary.png")[..., :3].std() > 0.03


def test_only_failures_and_nothing_at_all(tmp_path, sweep):
    summary = summarise([sweep / "broken"])
    assert [path.name for path in write_summary(summary, tmp_path)] == ["summary.md", "summary.csv"]
    assert "broken" in (tmp_path / "summary.md").read_text()
    with pytest.raises(UserError, match="no run directories"):
        summarise([])


def test_evaluations_without_before_and_with_different_suites(tmp_path, make):
    runs = []
    for i in range(2):
        body = make.results(layer=i)
        del body["before"]
        body["after"][f"suite{i}"] = {"acc": make.metric(0.5)}
        runs.append(make.write_run(tmp_path / str(i), body))
    summary = summarise(runs)
    assert summary.baseline is None
    assert "suite0/acc" in markdown(summary)
    print_summary(summary, Console(file=io.StringIO(), width=60))


def test_files_inside_a_run_are_not_runs(sweep):
    inner = sweep / "0" / "delta"
    inner.mkdir()
    (inner / "config.yaml").write_text("x: 1")
    assert inner not in find_runs(sweep)
