"""A report over folders with damaged runs: each is named and left out, and the others have their page."""

import io
import os

import pytest
from rich.console import Console

from tests.reporting.conftest import results, write_run
from unlearnctl.reporting.reports import report
from unlearnctl.reporting.summary_terminal import MOST_NAMED
from unlearnctl.results import schema
from unlearnctl.results.history import LONGEST, read_history
from unlearnctl.utils.errors import UserError


def metric(**changes):
    body = results(layer=9)
    body["after"]["tinyworld"]["hazard_acc"] |= changes
    return body


BAD = {
    "interval": (
        metric(interval=[0.5, 0.1]),
        "after.tinyworld.hazard_acc.interval=[0.5, 0.1]: must have its lower end first",
    ),
    "stderr": (metric(stderr=-0.1), "after.tinyworld.hazard_acc.stderr=-0.1: must be 0 or more"),
    "schema": ({"schema": "x"}, "schema='x': must be unlearnctl/results/1"),
}


def said_of(root):
    out = io.StringIO()
    *_, page = report([root], Console(file=out, width=400))
    return out.getvalue(), page.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", BAD)
def test_a_damaged_run_is_named_and_the_others_are_reported(name, tmp_path):
    body, line = BAD[name]
    write_run(tmp_path / "good")
    write_run(tmp_path / "bad", body)
    said, page = said_of(tmp_path)
    assert f"failed: {tmp_path / 'bad'}: {tmp_path / 'bad'}/results.json: {line}" in said
    assert "1 of 2 runs left out: 1 without readable results" in said
    assert 'data-value="good"' in page
    with pytest.raises(UserError) as caught:  # nothing can be shown: exit code 2
        report([tmp_path / "bad"], Console(file=io.StringIO()))
    assert str(caught.value) == f"{tmp_path / 'bad'}/results.json: {line}"


def test_a_name_that_is_no_text_a_loop_half_a_run_and_what_cannot_be_read(tmp_path, monkeypatch):
    write_run(tmp_path / "good")
    write_run(tmp_path / os.fsdecode(b"caf\xe9"))
    (tmp_path / "half").mkdir()
    (tmp_path / "half/results.json").write_text('{"schema": "unlearn')
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop/results.json").symlink_to(tmp_path / "loop/results.json")
    (tmp_path / "loop/inner").symlink_to(tmp_path)
    kept = write_run(tmp_path / "kept")
    read = schema.load_record

    def load_record(path):
        if path.parent == kept:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(schema, "load_record", load_record)
    said, page = said_of(tmp_path)
    assert f"failed: {tmp_path}/caf\\xe9: its name is not UTF-8" in said
    assert f"{tmp_path}/half/results.json: not readable as JSON" in said
    assert f"failed: {tmp_path}/loop: no results.json" in said
    assert "Permission denied" in said
    assert "4 of 5 runs left out: 4 without readable results" in said
    assert 'data-value="good"' in page
    assert "caf\\xe9" in (tmp_path / "summary.csv").read_text()


def test_very_many_bad_runs_are_counted(tmp_path):
    write_run(tmp_path / "good")
    for place in range(MOST_NAMED + 5):
        (tmp_path / f"bad{place:02d}").mkdir()
        (tmp_path / f"bad{place:02d}/config.yaml").write_text("")
    said, _ = said_of(tmp_path)
    assert said.count("failed: ") == MOST_NAMED + 1
    assert "failed: 5 more, all of them in summary.md" in said


def test_folders_that_overlap_give_each_run_once(tmp_path, monkeypatch):
    write_run(tmp_path / "a/one")
    write_run(tmp_path / "a/two", results(layer=2))
    (tmp_path / "link").symlink_to(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    *_, page = report(
        [tmp_path, tmp_path / "a", tmp_path / "a/../a/one", tmp_path / "link"], Console(file=io.StringIO())
    )
    assert page.read_text().count("<tr data-run=") == 2


def test_a_results_file_of_no_sensible_size_is_refused(tmp_path, monkeypatch):
    write_run(tmp_path / "good")
    big = write_run(tmp_path / "big")
    with (big / "results.json").open("a") as file:
        file.truncate(100_000_000)
    said, _ = said_of(tmp_path)
    assert "results.json: 100 MB, more than a run writes (at most 64 MB)" in said


def test_a_long_history_is_read_in_part_with_all_evaluations_and_the_last_row(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [
        f'{{"kind": "train", "step": {step}, "loss": 1.0, "terms": {{}}, "lr": 0.001}}'
        for step in range(1, 5001)
    ]
    rows.insert(2500, '{"kind": "eval", "step": 2500, "suites": {}}')
    path.write_text("\n".join(rows) + "\n" + "x" * (2 * LONGEST + 5) + "\n")
    whole, part = read_history(path), read_history(path, most=100)
    assert len(whole.rows) == 5001
    steps = [row["step"] for row in part.rows if row["kind"] == "train"]
    assert (part.every, steps[:3], len(steps)) == (50, [1, 51, 101], 100)
    assert [row["step"] for row in part.rows if row["kind"] == "eval"] == [2500]
    path.write_text("\n".join(rows) + "\n")
    assert read_history(path, most=100).rows[-1]["step"] == 5000
