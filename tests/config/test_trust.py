"""Code that is not ours runs only where it was typed."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.command import QUICK, run, succeed
from unlearnctl.config.targets import check_config, find_class
from unlearnctl.config.trust import Trust, allow, read_trust, trusted, without_trust
from unlearnctl.distributed.worker import main as worker
from unlearnctl.utils.errors import UserError

PLUGIN = """
from unlearnctl.objectives.grad_ascent import GradAscent
from subprocess import Popen

class Mine(GradAscent):
    pass
"""


@pytest.fixture(autouse=True)
def _nothing_trusted() -> Iterator[None]:
    allow(Trust())
    yield
    allow(Trust())


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mine_for_tests").mkdir()
    (tmp_path / "mine_for_tests" / "__init__.py").write_text(PLUGIN)
    (tmp_path / "conf" / "objective").mkdir(parents=True)
    yaml = "# Mine.\n_target_: mine_for_tests.Mine\nname: mine\n"
    (tmp_path / "conf" / "objective" / "mine.yaml").write_text(yaml)
    yield
    sys.modules.pop("mine_for_tests", None)


def test_read_from_what_was_typed() -> None:
    typed = ["plugins=[a, b.c]", "model.trust_remote_code=true", "+eval.t.trust_task_code=True", "seed=1"]
    assert read_trust(typed) == Trust(
        ("a", "b.c"), frozenset({"model.trust_remote_code", "eval.t.trust_task_code"})
    )
    assert read_trust(["model.trust_remote_code=false", "--debug"]) == Trust()
    assert without_trust(typed) == ["seed=1"]


def test_a_class_must_be_defined_in_an_allowed_package(plugin: None) -> None:
    allow(Trust(("mine_for_tests",)))
    assert find_class("objective._target_", "mine_for_tests.Mine").__name__ == "Mine"
    for name in ("mine_for_tests.Popen", "mine_for_tests.sys", "mine_for_tests.Nothing"):
        with pytest.raises(UserError, match=rf"^objective\._target_={name}: no such class$"):
            find_class("objective._target_", name)
    with pytest.raises(
        UserError, match=r"^objective\._target_=mine_for_testsx\.Mine: not a class that a config"
    ):
        find_class("objective._target_", "mine_for_testsx.Mine")


def test_a_plugin_is_used_where_it_was_typed_and_not_imported_elsewhere(plugin: None) -> None:
    command = ("train", "--config-dir", "conf", "objective=mine", *QUICK, "launch.dry_run=true")
    refused = run(*command)
    assert refused.code == 2
    assert refused.err.endswith("and packages given as plugins=[...] (conf/objective/mine.yaml:2)\n")
    assert "mine_for_tests" not in sys.modules
    succeed(*command, "plugins=[mine_for_tests]")
    assert run(*command).code == 2  # the next command starts without trust


@pytest.mark.full
def test_a_run_with_a_plugin_is_resumed_with_it_typed_again(plugin: None) -> None:
    done = succeed("train", "--config-dir", "conf", "objective=mine", *QUICK, "plugins=[mine_for_tests]")
    refused = run("train", f"resume={done.run_dir}")
    assert refused.err.startswith("error: objective._target_=mine_for_tests.Mine: not a class that a config")
    assert refused.err.endswith(f"({done.run_dir}/config.yaml:{line(done.run_dir, '_target_: mine')})\n")
    resumed = succeed("train", f"resume={done.run_dir}", "plugins=[mine_for_tests]")
    assert "that run has ended" in resumed.out


def line(run_dir: str, text: str) -> int:
    lines = (Path(run_dir) / "config.yaml").read_text().splitlines()
    return 1 + next(number for number, content in enumerate(lines) if text in content)


def test_a_worker_has_what_its_command_line_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["unlearnctl train", "plugins=[mine_for_tests]"]
    monkeypatch.setattr(sys, "argv", ["worker", "train", str(tmp_path / "none.yaml"), "d", *command])
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("UNLEARNCTL_PARENT", "1")
    monkeypatch.setenv("UNLEARNCTL_SIGNS", str(tmp_path))
    monkeypatch.setattr("unlearnctl.distributed.worker._dump_stack_on_signal", lambda file: None)
    monkeypatch.setattr("threading.Thread.start", lambda self: None)
    monkeypatch.setattr("unlearnctl.distributed.worker.note_failure", lambda error, rank: None)
    assert worker() == 2  # for there is no config; what counts came before
    assert trusted() == Trust(("mine_for_tests",))


SHELL = "hydra:\n  launcher:\n    timeout_min: 5\n    setup: [module load cuda, curl evil]\n"


@pytest.mark.parametrize(
    ("typed", "refused"),
    [
        ((), "hydra.launcher.setup.0=module load cuda: must be typed on the command line"),
        (("hydra.launcher.setup=[module load cuda]",), None),
        (("hydra.launcher.timeout_min=5",), "hydra.launcher.setup.0="),
        (("+hydra.launcher.setup_commands=[x]",), "hydra.launcher.setup.0="),
    ],
)
def test_what_a_launcher_gives_to_a_shell_is_typed(
    typed: tuple[str, ...], refused: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "evil.yaml"
    file.write_text(SHELL)
    allow(read_trust(typed))
    with nullcontext() if refused is None else pytest.raises(UserError, match=re.escape(refused)) as told:
        check_config(OmegaConf.create(SHELL), [file])
    if told:
        assert str(told.value).endswith(f"({file}:4)")
