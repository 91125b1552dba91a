"""A verb of our own is one file, and one YAML if Hydra composes its config: nothing else names it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.command import run, succeed
from unlearnctl import commands
from unlearnctl.utils.paths import conf_dir

MODULE = '''"""Say hello.

usage: unlearnctl hello [key=value ...]
"""

RUN_KEY = "run_dir"


def hello(cfg):
    print(f"hello {cfg.whom} {cfg.run_dir}")
'''
CONFIG = """\
defaults:
  - _self_
  - override hydra/job_logging: disabled
  - override hydra/hydra_logging: disabled
whom: world
run_dir: null
hydra:
  output_subdir: null
  run:
    dir: .
"""


@pytest.fixture
def _added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lay a file beside those of commands/ and a YAML beside those of conf/."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "verbs").mkdir()
    (tmp_path / "verbs" / "hello.py").write_text(MODULE)
    shutil.copytree(conf_dir(), tmp_path / "conf")
    (tmp_path / "conf" / "hello.yaml").write_text(CONFIG)
    monkeypatch.setattr(commands, "FOLDER", tmp_path / "verbs")
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path / "verbs")])
    for module in ("unlearnctl.commands", "unlearnctl.hydra_app", "unlearnctl.candidates"):
        monkeypatch.setattr(f"{module}.conf_dir", lambda: tmp_path / "conf")


@pytest.mark.usefixtures("_added")
def test_it_is_found_helped_and_run() -> None:
    assert "\n  hello  Say hello\n" in succeed("--help").out
    assert succeed("hello", "--help").out.startswith("Say hello.\n\nusage: unlearnctl hello")
    assert succeed("hello", "whom=you").out == "hello you None\n"
    assert succeed("hello", "a/run").out == "hello world a/run\n"
    assert succeed("__complete", "hello", "who").out == "whom=\n"
    wrong = run("hello", "wohm=you")
    assert wrong.code == 2
    assert wrong.err.startswith("error: wohm")
