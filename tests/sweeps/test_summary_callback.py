"""The end of a sweep."""

import json

import pytest
from omegaconf import OmegaConf

from hydra_plugins.unlearnctl_summary import SweepSummary


def run(folder, layer):
    folder.mkdir(parents=True)
    score = {"value": 0.25, "stderr": 0.02, "n": 100, "chance": 0.25, "role": "forget", "goal": "lower"}
    body = {
        "schema": "unlearnctl/results/1",
        "status": "completed",
        "config": {"objective": {"layer": layer}},
    }
    (folder / "results.json").write_text(json.dumps(body | {"after": {"world": {"hazard_acc": score}}}))


@pytest.fixture
def config(tmp_path):
    return OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})


def test_writes_and_prints_with_the_path_last(tmp_path, config, capsys):
    for layer in (2, 3):
        run(tmp_path / f"member{layer}", layer)
    SweepSummary().on_multirun_end(config)
    said = capsys.readouterr().out.rstrip().splitlines()
    assert said[-1] == f"sweep: {tmp_path}"
    assert any("0.250" in line for line in said)
    assert {"summary.md", "summary.csv"} <= {path.name for path in tmp_path.iterdir()}


def test_silent_when_no_member_left_a_run(config, capsys):
    SweepSummary().on_multirun_end(config)
    assert capsys.readouterr().out == ""
