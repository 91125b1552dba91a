"""`unlearnctl probe` on the tiny world, and training on what it found."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.command import QUICK, run, succeed

SMALL = ("texts=64", "device=cpu", "layers=[2,5]")


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_probe_then_train_on_its_directions() -> None:
    folder = Path(succeed("probe", *SMALL).run_dir)
    assert {"probes.safetensors", "probes.json", "probes.csv", "probes.png", "config.yaml"} <= {
        p.name for p in folder.iterdir()
    }
    rows = list(csv.DictReader((folder / "probes.csv").open()))
    assert [row["layer"] for row in rows] == ["2", "5"]
    assert all(float(row["accuracy"]) > 0.9 and row["n"] == "32" for row in rows)
    manifest = json.loads((folder / "probes.json").read_text())
    assert manifest["provenance"]["seed"] == 0
    train = ("train", *QUICK, "objective=probe_directions", "data=tinyworld_toxic", "objective.layers=[2,5]")
    done = succeed(*train, f"objective.probe={folder}", "run=given")
    assert "probes: held-out" not in done.out
    assert "probes: held-out accuracy by layer 2: " in succeed(*train, "run=own").out
    done = run(*train, "objective.layers=[2,4]", f"objective.probe={folder}", "run=wrong")
    assert done.code == 2
    assert "layer 4 was not probed; it has [2, 5]" in done.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("layers=[8]",), "layers=[8]: tinyworld has 8 blocks, 0 to 7"),
        (("layers=[]",), "layers=[]: tinyworld has 8 blocks"),
        (("pool=max",), "pool=max: unknown (did you mean 'mean'?)"),
        (("texts=0",), "texts=0: must be a whole number"),
        (("texts=4",), "data.forget: 4 texts are too few"),
        (("data=tinyworld_toxik",), "data=tinyworld_toxik: unknown"),
    ],
)
def test_mistakes_are_one_line(args: tuple[str, ...], message: str) -> None:
    done = run("probe", *SMALL, "batch_size=4", *args)
    assert done.code == 2
    assert done.err.startswith(f"error: {message}"), done.err
    assert not Path("outputs").exists()
