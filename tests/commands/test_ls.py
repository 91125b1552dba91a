"""`unlearnctl ls` reads files, nothing heavier."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from unlearnctl.commands.ls import first_comment, groups, ls
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.paths import conf_dir


def test_every_group_and_option_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert ls([]) == 0
    out = capsys.readouterr().out
    for group, options in groups([conf_dir()]).items():
        assert f"{group}=\n" in out
        for option, text in options.items():
            assert text, f"conf/{group}/{option}.yaml does not open with a comment"
            assert f"  {option} " in out


def test_one_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert ls(["objective/retain="]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "objective/retain="
    assert [line.split()[0] for line in lines[1:]] == ["embed_diff", "kl", "nll"]


def test_a_folder_of_the_users_own_adds_to_the_shipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "objective").mkdir()
    (tmp_path / "objective" / "mine.yaml").write_text("# My own.\nx: 1\n")
    (tmp_path / "objective" / "rmu.yaml").write_text("# Hydra would not take this one.\n")
    for args in (["objective", "--config-dir", str(tmp_path)], [f"--config-dir={tmp_path}", "objective"]):
        assert ls(args) == 0
        out = capsys.readouterr().out
        assert "mine" in out
        assert "My own." in out
        assert "would not" not in out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["objectiv"], r"^group=objectiv: unknown \(did you mean 'objective'\?\)\. Allowed: .*model"),
        (["--config-dir", "absent"], "^--config-dir=absent: no such folder$"),
        (["--config-dir"], "^--config-dir=: no such folder$"),
        (["--all"], "^unlearnctl ls: unknown option --all"),
    ],
)
def test_mistakes(args: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ls(args)


@pytest.mark.parametrize(
    ("text", "comment"),
    [
        ("# What it is.\nx: 1\n", "What it is."),
        ("# @package _global_\n#\n# What it is.\n", "What it is."),
        ("x: 1\n# Too late.\n", ""),
        ("", ""),
    ],
)
def test_first_comment(text: str, comment: str, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    assert first_comment(file) == comment


def test_imports_nothing_heavy() -> None:
    code = (
        "import sys; from unlearnctl.commands.ls import ls; ls([]); "
        "print(sorted({'torch', 'hydra', 'omegaconf', 'transformers', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
