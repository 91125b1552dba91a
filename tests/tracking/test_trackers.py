"""Rows reach every tracker; metrics.jsonl is strict JSON at every moment."""

from __future__ import annotations

import json
import math
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from unlearnctl.config.trackers import build_tracker, make_trackers
from unlearnctl.tracking import Trackers, flatten
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.paths import conf_dir

TRAIN = {
    "kind": "train", "step": 3, "loss": 0.5, "terms": {"forget": 0.2, "retain": 0.3},
    "lr": 1e-3, "grad_norm": float("nan"), "seconds": 0.1,
}  # fmt: skip
EVAL = {
    "kind": "eval", "step": 3,
    "suites": {"tinyworld": {"hazard_acc": {"value": 0.3, "stderr": 0.05, "n": 80, "chance": 0.25}}},
}  # fmt: skip


class Recorder:
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def log(self, row: Any, step: int) -> None:
        self.calls.append((row["kind"], step))

    def finish(self, status: str) -> None:
        self.calls.append(status)


def read_rows(run_dir: Path) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    text = (run_dir / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def test_flatten_keeps_finite_numbers_under_slashed_names() -> None:
    assert flatten(TRAIN) == {
        "train/loss": 0.5,
        "train/terms/forget": 0.2,
        "train/terms/retain": 0.3,
        "train/lr": 1e-3,
        "train/seconds": 0.1,
    }
    assert flatten(EVAL) == {"eval/tinyworld/hazard_acc": 0.3}
    assert flatten({"kind": "train", "note": "text", "flag": True}) == {}


def test_fan_out_finishes_once() -> None:
    a, b = Recorder(), Recorder()
    trackers = Trackers([a, b])
    trackers.log(TRAIN, 3)
    trackers.finish("completed")
    trackers.finish("failed")
    assert a.calls == b.calls == [("train", 3), "completed"]


@pytest.mark.parametrize(("raised", "status"), [(KeyboardInterrupt, "interrupted"), (ValueError, "failed")])
def test_context_manager_closes_however_the_run_ends(raised: type[BaseException], status: str) -> None:
    recorder = Recorder()
    with pytest.raises(raised), Trackers([recorder]):
        raise raised
    assert recorder.calls == [status]


def test_jsonl_is_there_before_finish_and_not_finite_is_null(tmp_path: Path) -> None:
    trackers = make_trackers({"name": "none"}, tmp_path, {})
    trackers.log({**TRAIN, "loss": torch.tensor(math.inf), "list": (1, math.nan)}, 3)
    trackers.log(EVAL, 3)
    first, second = read_rows(tmp_path)
    assert first["step"] == 3
    assert first["grad_norm"] is None
    assert first["loss"] is None
    assert first["list"] == [1, None]
    assert second["suites"] == EVAL["suites"]
    trackers.finish("completed")
    with make_trackers({"name": "none"}, tmp_path, {}) as again:
        again.log(TRAIN, 4)
    assert [row["step"] for row in read_rows(tmp_path)] == [3, 3, 4]


def test_only_the_first_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    make_trackers({"name": "none"}, tmp_path, {}).log(TRAIN, 1)
    assert not list(tmp_path.iterdir())


def test_unknown_tracker_and_setting(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tracker=wandbb: unknown \(did you mean 'wandb'\?\)"):
        make_trackers({"name": "wandbb"}, tmp_path, {})
    with pytest.raises(UserError, match=r"^tracker\.colour: unknown key"):
        make_trackers({"name": "tensorboard", "colour": 1}, tmp_path, {})
    with pytest.raises(UserError, match=r"^tracker\.mode=offlin: unknown \(did you mean 'offline'"):
        make_trackers({"name": "wandb", "mode": "offlin"}, tmp_path, {})
    with pytest.raises(UserError, match=r"^tracker\.folder=\.\./x: must be"):
        make_trackers({"name": "tensorboard", "folder": "../x"}, tmp_path, {})


def test_a_config_may_not_name_the_file_that_rows_go_to() -> None:
    with pytest.raises(UserError, match="not of the kind that tracker takes"):
        build_tracker({"_target_": "unlearnctl.tracking.jsonl.JsonlTracker", "path": "x"})


@pytest.mark.parametrize("name", ["wandb", "trackio", "tensorboard"])
def test_a_missing_package_is_one_line_with_the_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"^tracker={name}: not installed; pip install {name}$"):
        make_trackers({"name": name}, tmp_path, {})


def test_tensorboard_events_can_be_read_back(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with make_trackers({"name": "tensorboard"}, tmp_path, {"seed": 0}) as trackers:
        trackers.log(TRAIN, 3)
        trackers.log(EVAL, 3)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == set(flatten(TRAIN)) | set(flatten(EVAL))
    (loss,) = events.Scalars("train/loss")
    assert (loss.step, loss.value) == (3, 0.5)


def test_every_shipped_tracker_config_is_accepted(tmp_path: Path) -> None:
    for file in sorted((conf_dir() / "tracker").glob("*.yaml")):
        cfg = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert cfg["name"] == file.stem
        if file.stem == "trackio" and find_spec("trackio") is None:
            continue
        if file.stem == "wandb":
            cfg["mode"] = "disabled"  # the offline run has its own test
        folder = tmp_path / file.stem
        folder.mkdir()
        with make_trackers(cfg, folder, {}) as trackers:
            trackers.log(TRAIN, 1)
        assert len(read_rows(folder)) == 1
