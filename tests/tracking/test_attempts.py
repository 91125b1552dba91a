"""A sweep is a group on the dashboard; each try at a member is a run with its own name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.tracking.test_trackers import EVAL, TRAIN
from unlearnctl.config.trackers import make_trackers
from unlearnctl.sweeps.status import Status, write_status
from unlearnctl.tracking.attempts import attempt_name, sweep_name


@pytest.fixture
def member(tmp_path: Path) -> Path:
    (tmp_path / "nightly").mkdir()
    (tmp_path / "nightly/sweep.json").write_text("{}")
    member = tmp_path / "nightly/1a2b3c4d"
    write_status(member, Status("running", attempt=2))
    return member


def test_names(member: Path) -> None:
    assert sweep_name(member) == "nightly"
    assert attempt_name(member) == "1a2b3c4d-try2"
    assert sweep_name(member.parent) is None
    (member / "status.json").unlink()
    assert attempt_name(member) == "1a2b3c4d"
    (member / "wandb/offline-run-20260101_000000-x").mkdir(parents=True)
    assert attempt_name(member) == "1a2b3c4d-try2"


def test_wandb_gets_group_and_try(member: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    asked = {}
    init = wandb.init
    monkeypatch.setattr(wandb, "init", lambda **given: asked.update(given) or init(**given))
    with make_trackers({"name": "wandb", "mode": "disabled"}, member, {}) as trackers:
        trackers.log(TRAIN, 3)
    assert (asked["group"], asked["name"]) == ("nightly", "1a2b3c4d-try2")


def test_trackio_keeps_a_run(
    member: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(member.parent / "trackio"))
    pytest.importorskip("trackio")
    for name in [n for n in sys.modules if n.startswith("trackio")]:  # it reads its folder once, at import
        monkeypatch.delitem(sys.modules, name)
    with make_trackers({"name": "trackio"}, member, {"seed": 0}) as trackers:
        trackers.log(TRAIN, 3)
        trackers.log(EVAL, 3)
    assert list((member.parent / "trackio").rglob("*.db"))
    assert capfd.readouterr().out == ""
