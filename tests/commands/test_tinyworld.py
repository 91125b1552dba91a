"""`unlearnctl tinyworld`: its arguments, and the folder of data; the recipe itself has tests of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import run, succeed
from unlearnctl.commands.tinyworld import parse, tinyworld
from unlearnctl.utils.errors import UserError


def test_data_prints_the_folder() -> None:
    folder = Path(succeed("tinyworld", "data").out.strip())
    assert (folder / "corpora" / "hazard_forget.jsonl").is_file()


def test_build_takes_a_folder_and_a_seed() -> None:
    assert parse(["to=x", "seed=3"]) == {"to": "x", "seed": "3", "twin": "false", "arch": "llama"}
    assert parse(["to=x", "twin=true"])["twin"] == "true"
    assert parse(["to=x"])["seed"] == "0"


def test_build_hands_all_to_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "unlearnctl.tinyworld.build.build",
        lambda to, seed, twin, arch: {"to": to.name, "seed": seed, "twin": twin, "arch": arch},
    )
    out = succeed("tinyworld", "build", f"to={tmp_path / 'new'}", "seed=3", "twin=true", "arch=qwen2").out
    told = ["  to: new", "  seed: 3", "  twin: True", "  arch: qwen2"]
    assert out.splitlines() == [*told, f"model: {tmp_path / 'new'}"]


@pytest.mark.parametrize(
    ("args", "line"),
    [
        ([], r"tinyworld=\(nothing\): unknown. Allowed: build, data"),
        (["biuld"], "did you mean 'build'"),
        (["data", "x"], "takes no argument, got x"),
        (["build"], "to=: required"),
        (["build", "to="], "to=: required"),
        (["build", "to=x", "seed=one"], "seed=one: must be a whole number"),
        (["build", "to=x", "twin=yes"], "twin=yes: must be true or false"),
        (["build", "to=x", "sed=1"], "did you mean 'seed'"),
        (["build", "to=x", "arch=mistrall"], "arch=mistrall: unknown \\(did you mean 'mistral'"),
        (["build", "to"], "to: unknown|tinyworld build=to"),
    ],
)
def test_mistakes(args: list[str], line: str) -> None:
    with pytest.raises(UserError, match=line):
        tinyworld(args)


def test_a_target_that_holds_something_is_kept(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("")
    done = run("tinyworld", "build", f"to={tmp_path}")
    assert done.code == 2
    assert "exists already" in done.err
