"""Help, version, composed configs, plans."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.command import run, succeed
from unlearnctl import __version__
from unlearnctl.commands import every_verb, names

VERBS = names()


def test_help_lists_every_verb() -> None:
    out = succeed("--help").out
    assert all(f"\n  {verb} " in out for verb in VERBS)
    assert succeed().out == out


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_says_how(verb: str) -> None:
    out = succeed(verb, "--help").out
    assert out.startswith(every_verb()[verb].summary)
    assert f"\nusage: unlearnctl {verb}" in out
    examples = re.split(r"\nexamples?:\n", out)[1]
    assert f"unlearnctl {verb}" in examples


def test_a_reader_that_leaves_early_is_no_error() -> None:
    """As in `unlearnctl ls | head -1`: silent, with the exit code of a program that SIGPIPE ended."""
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", "unlearnctl", "ls"]
    done = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writes)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_version() -> None:
    assert succeed("--version").out == f"unlearnctl {__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_version_after_any_verb(verb: str) -> None:
    assert succeed(verb, "--version").out == f"unlearnctl {__version__}\n"


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["train", "--verbose"], "unlearnctl train: unrecognized arguments: --verbose"),
        (["eval", "--cfg"], "unlearnctl eval: argument --cfg/-c: expected one argument"),
        (["export", "--resolve"], "--resolve: goes with --cfg"),
        (["ls", "--verbose"], "--verbose"),
        (["doctor", "--verbose"], "--verbose"),
        (["--verbose"], "--verbose"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_unknown_flag_is_one_line(args: list[str], line: str) -> None:
    done = run(*args)
    assert (done.code, done.out) == (2, "")
    assert line in done.err
    assert done.err.count("\n") == 1


def test_cfg_job_prints_the_resolved_config() -> None:
    out = succeed(
        "train", "objective=rmu_cosine", "model=llama3_8b", "data=wmdp_bio", "--cfg", "job", "--resolve"
    ).out
    cfg = yaml.safe_load(out)
    assert cfg["model"]["path"] == "meta-llama/Meta-Llama-3-8B"
    assert cfg["objective"]["layer"] == 0.23
    assert cfg["data"]["forget"]["path"] == "cais/wmdp-bio-forget-corpus"


def test_a_published_recipe_reaches_objective_and_trainer() -> None:
    out = succeed("train", "objective=rmu", "model=zephyr_7b", "--cfg", "job", "--resolve").out
    cfg = yaml.safe_load(out)
    assert (cfg["objective"]["steering_coeff"], cfg["objective"]["alpha"]) == (6.5, 1200)
    assert (cfg["trainer"]["optimizer"]["lr"], cfg["trainer"]["steps"]) == (5e-5, 150)


def test_a_dry_run_plans_an_8b_model_without_network_or_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = succeed(
        "train",
        "objective=rmu_cosine",
        "model=llama3_8b",
        "data=wmdp_bio",
        "eval=[wmdp,mmlu]",
        "launch.dry_run=true",
    ).out
    for fact in (
        "176,160,768 of",
        "8,030,261,248",
        "8 of 32",
        "4.89 GB in bfloat16, trained tensors in float32",
        "352.32 MB on disk",
        "wmdp, mmlu",
    ):
        assert fact in " ".join(out.split()), fact
    assert not list(tmp_path.iterdir())


def test_config_dir_adds_options(tmp_path: Path) -> None:
    (tmp_path / "objective").mkdir()
    (tmp_path / "objective" / "mine.yaml").write_text(
        "# Mine.\n_target_: unlearnctl.objectives.grad_ascent.GradAscent\nname: mine\n"
    )
    out = succeed("train", "--config-dir", str(tmp_path), "objective=mine", "--cfg", "job").out
    assert yaml.safe_load(out)["objective"]["name"] == "mine"
    assert "mine" in succeed("ls", "objective", "--config-dir", str(tmp_path)).out


def test_flags_may_stand_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("train", "objective.layer=30", "-m", "seed=0,1")
    assert done.code == 2
    assert done.err.count("tinyworld has 8 blocks") == 2


@pytest.mark.parametrize("mode", [[], ["hydra.mode=RUN"]])
def test_a_command_composes_its_config_once(mode: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Composing is most of what a wrong command waits for; a mode that is named is looked up first."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    composed, compose = [], ConfigLoaderImpl.load_configuration

    def counted(*args: Any, **kwargs: Any) -> Any:
        composed.append(kwargs["overrides"])
        return compose(*args, **kwargs)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", counted)
    assert run("train", "seed=-1", *mode).code == 2
    assert len(composed) == 1 + len(mode)


def test_hydra_may_be_asked_for_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("train", "hydra.mode=MULTIRUN", "seed=-1,-2")
    assert "error: seed=-1:" in done.err
    assert "error: seed=-2:" in done.err


def test_completion_script_and_words() -> None:
    assert "unlearnctl" in succeed("completion", "bash").out
