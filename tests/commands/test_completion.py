"""Completion offers verbs, groups, options and nested keys; a half-typed or wrong line gives nothing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from unlearnctl import candidates, commands
from unlearnctl.candidates import complete
from unlearnctl.commands import completion
from unlearnctl.commands.completion import SCRIPTS
from unlearnctl.utils.errors import UserError

FILES = {
    "train.yaml": "defaults: [{objective: rmu}, {eval: [smoke]}, {trainer: default}, _self_]\nseed: 0\n",
    "objective/rmu.yaml": "layer: 7\nalpha: 1.0\n",
    "objective/npo.yaml": "defaults: [{retain: nll}]\nbeta: 0.1\n",
    "objective/retain/nll.yaml": "kind: nll\n",
    "objective/retain/kl.yaml": "kind: kl\n",
    "eval/smoke.yaml": "smoke: {n: 1}\n",
    "eval/wmdp.yaml": "wmdp: {n: 2}\n",
    "trainer/default.yaml": "optimizer: {lr: 0.1}\n",
}


@pytest.fixture(autouse=True)
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small config folder in place of the shipped one."""
    root = tmp_path / "conf"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(candidates, "conf_dir", lambda: root)
    monkeypatch.setattr(commands, "conf_dir", lambda: root)
    return root


def ask(line: str) -> list[str]:
    return complete(line.split(" "))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", commands.names()),
        ("tr", ["track", "train"]),
        ("--v", ["--version"]),
        ("train obj", ["objective.", "objective/", "objective="]),
        ("train objective=", ["objective=npo", "objective=rmu"]),
        ("train objective=n", ["objective=npo"]),
        ("train objective/retain=", ["objective/retain=kl", "objective/retain=nll"]),
        ("train objective.", ["objective.alpha=", "objective.layer="]),
        ("train objective.la", ["objective.layer="]),
        ("train objective=npo objective.be", ["objective.beta="]),  # keys of the option chosen before
        ("train objective.layer=", ["objective.layer=7"]),
        ("train trainer.optimizer.", ["trainer.optimizer.lr="]),
        ("train -m seed=1 objective=r", ["objective=rmu"]),
        ("train objective=rmu,", ["objective=rmu,npo", "objective=rmu,rmu"]),  # a sweep
        ("train eval=[smoke,w", ["eval=[smoke,wmdp"]),
        ("train --c", ["--cfg", "--config-dir"]),
        ("train --cfg j", ["job"]),
        ("train hydra.sweep.d", ["hydra.sweep.dir="]),
        ("ls obj", ["objective", "objective/retain"]),
        ("completion ", ["bash", "fish", "zsh"]),
        ("completion bash ", []),
        ("tinyworld b", ["build"]),
        ("doctor ", []),
        ("nonsense ", []),
        ("train objective=absent objective.", []),
        ("train 'half", []),
    ],
)
def test_candidates(line: str, expected: list[str]) -> None:
    assert ask(line) == expected


def test_hydra_own_keys_are_offered_only_when_asked_for() -> None:
    assert not [candidate for candidate in ask("train ") if candidate.startswith("hydra")]


def test_folders_after_config_dir_and_their_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own" / "objective"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("x: 1\n")
    monkeypatch.chdir(tmp_path)
    assert ask("train --config-dir o") == ["own/"]
    assert ask(f"train --config-dir {tmp_path}/o") == [f"{tmp_path}/own/"]
    assert ask("train --config-dir own objective=m") == ["objective=mine"]
    assert ask("train --config-dir=own objective=m") == ["objective=mine"]
    assert ask("report o") == ["own/"]
    assert ask("report own/ to=o") == ["to=own/"]


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert completion.completion(["zsh"]) == 0
    assert capsys.readouterr().out == SCRIPTS["zsh"]
    with pytest.raises(UserError, match="name one shell"):
        completion.completion([])
    with pytest.raises(UserError, match=r"shell=bsh: unknown \(did you mean 'bash'\?\)"):
        completion.completion(["bsh"])


@pytest.mark.parametrize(
    ("line", "pieces", "printed", "reply"),
    [
        ("unlearnctl tr", ["unlearnctl", "tr"], "train", "train"),
        ("unlearnctl train ", ["unlearnctl", "train", ""], "data=", "data="),
        # bash splits at "=", and replaces only what follows it
        ("unlearnctl train data=", ["unlearnctl", "train", "data", "="], "data=wmdp", "wmdp"),
        ("unlearnctl train data=w", ["unlearnctl", "train", "data", "=", "w"], "data=wmdp", "wmdp"),
    ],
)
def test_bash_script(line: str, pieces: list[str], printed: str, reply: str, tmp_path: Path) -> None:
    typed = tmp_path / "typed"
    program = f"""
        unlearnctl() {{ printf '%s\\n' "$@" >{typed}; echo '{printed}'; }}
        {SCRIPTS["bash"]}
        COMP_LINE='{line}' COMP_POINT={len(line)} COMP_CWORD={len(pieces) - 1}
        COMP_WORDS=({" ".join(f"'{piece}'" for piece in pieces)})
        _unlearnctl
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [reply]
    assert typed.read_text().split("\n")[:-1] == ["__complete", *line.split(" ")[1:]]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_accepts_its_script(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    subprocess.run([shell, "-n"], input=SCRIPTS[shell], text=True, check=True)
