"""wandb without a key: an offline run in the run directory, in silence; no key is ever written."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.tracking.test_trackers import EVAL, TRAIN
from unlearnctl.config.trackers import make_trackers
from unlearnctl.tracking.wandb import choose_mode, has_key
from unlearnctl.utils.errors import UserError


@pytest.fixture(autouse=True)
def _no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def test_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_mode(None) == "offline"
    assert choose_mode("online") == "online"
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert choose_mode(None) == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert choose_mode(None) == "disabled"
    with pytest.raises(UserError, match=r"tracker.mode=offlin: unknown \(did you mean 'offline'"):
        choose_mode("offlin")


def test_has_key_finds_the_one_that_login_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not has_key()
    netrc = tmp_path / "netrc"
    netrc.write_text("machine api.wandb.ai\n  login user\n  password " + "x" * 40 + "\n")
    netrc.chmod(0o600)
    assert has_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not has_key()
    netrc.write_text("not a netrc")
    assert not has_key()


def _holds(file: Path, words: bytes, patience: float = 60.0) -> bool:
    """True once `words` stand in `file`: wandb's own process writes on after `finish` has returned."""
    end = time.monotonic() + patience
    while words not in file.read_bytes() and time.monotonic() < end:
        time.sleep(0.05)
    return words in file.read_bytes()


def test_two_offline_runs_in_one_process_are_two(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("first", "second"):
        run_dir = tmp_path / name
        run_dir.mkdir()
        with make_trackers({"name": "wandb", "tags": ["t"]}, run_dir, {"seed": 0}) as trackers:
            trackers.log(TRAIN, 3)
            trackers.log(EVAL, 3)
        (offline,) = (run_dir / "wandb").glob("offline-run-*")
        (record,) = offline.glob("*.wandb")
        assert _holds(record, b"train/loss")
    said = capfd.readouterr()
    assert said.out == said.err == ""
