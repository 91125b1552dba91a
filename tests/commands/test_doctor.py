"""`unlearnctl doctor`: a line per check; a failure, and nothing less, makes the exit code 1."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from unlearnctl.commands import doctor as checks
from unlearnctl.commands.doctor import Check, doctor, run_checks
from unlearnctl.utils.errors import UserError

OK = Check("a", "ok", "fine")
WARN = Check("b", "warn", "so so", "try this")
FAIL = Check("c", "fail", "broken", "mend [it]")


def test_one_line_each_with_the_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_checks([lambda: OK, lambda: WARN, lambda: FAIL]) == 1
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["a", "ok", "fine"],
        ["b", "warn", "so", "so", "try", "this"],
        ["c", "fail", "broken", "mend", "[it]"],  # not taken for markup
    ]


def test_a_warning_is_no_failure() -> None:
    assert run_checks([lambda: OK, lambda: WARN]) == 0


def test_a_check_that_breaks_is_a_failure_of_that_check(capsys: pytest.CaptureFixture[str]) -> None:
    def disk_space() -> Check:
        raise RuntimeError("boom\nand more")

    assert run_checks([disk_space, lambda: OK]) == 1
    out = capsys.readouterr().out
    assert "disk space" in out
    assert "RuntimeError: boom" in out
    assert "fine" in out


def test_takes_no_argument() -> None:
    with pytest.raises(UserError, match="takes no argument, got --fast"):
        doctor(["--fast"])


@pytest.mark.parametrize("check", [checks.python, checks.torch, checks.gpu, checks.accelerate, checks.wandb])
def test_this_machine_is_fit_for_the_tests(check: object) -> None:
    assert check().status == "ok"  # type: ignore[operator]


def test_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "PYTHON", (4, 0))
    assert checks.python().status == "fail"


def test_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert checks.torch().status == "fail"
    assert "pip install torch" in checks.torch().remedy
    assert checks.gpu().status == "warn"


def test_hub_offline_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert checks.hub().status == "warn"
    assert "HF_HUB_OFFLINE" in checks.hub().found
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(checks, "reach", lambda url, seconds: "not reachable")
    assert checks.hub().status == "warn"
    assert "local folder" in checks.hub().remedy


def test_hub_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(checks, "reach", lambda url, seconds: "")
    assert "hf auth login" in checks.hub().remedy
    (tmp_path / "token").write_text("hf_secret")
    assert checks.hub() == Check("hub", "ok", "https://huggingface.co, logged in")


def test_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLEARNCTL_CACHE", str(tmp_path / "cache"))
    assert checks.cache() == Check("cache", "ok", str(tmp_path / "cache"))
    (tmp_path / "file").touch()
    monkeypatch.setenv("UNLEARNCTL_CACHE", str(tmp_path / "file" / "cache"))
    assert checks.cache().status == "fail"
    assert "UNLEARNCTL_CACHE" in checks.cache().remedy


@pytest.mark.parametrize(("free", "status"), [(1e9, "fail"), (10e9, "warn"), (100e9, "ok")])
def test_disk(free: float, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free))
    assert checks.disk().status == status


def test_tiny_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unlearnctl.tinyworld.resolve.resolve", lambda path: str(tmp_path))
    assert checks.tiny_world().status == "fail"
    assert "lacks config.json, tokenizer.json" in checks.tiny_world().found
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    assert checks.tiny_world().status == "ok"


def test_starts_fast() -> None:
    code = (
        "import sys; import unlearnctl.commands.doctor, unlearnctl.commands.doctor as d; "
        "d.run_checks([]); print(sorted({'torch', 'hydra', 'transformers', 'wandb'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
