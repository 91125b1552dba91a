"""Tiny models are built on demand: once, completely, and in the shape that their config plans with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from transformers import AutoModelForCausalLM

from tests.command import QUICK, succeed
from unlearnctl.config.instantiate import plain
from unlearnctl.models.spec import ModelSpec
from unlearnctl.tinyworld import build, measure
from unlearnctl.tinyworld import on_demand as built
from unlearnctl.tinyworld.resolve import provide, resolve
from unlearnctl.utils.paths import conf_dir


@pytest.fixture(autouse=True)
def _short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps of pretraining and eight questions of each kind, in a cache of this test's own."""
    whole = build.build
    for name in ("accuracy", "perplexity", "toxicity"):
        monkeypatch.setattr(measure, name, on_eight(getattr(measure, name)))
    monkeypatch.setattr(build, "build", lambda to, arch: whole(to, steps=2, arch=arch))
    monkeypatch.setenv("UNLEARNCTL_CACHE", str(tmp_path / "cache"))


def on_eight(whole: Callable[..., Any]) -> Callable[..., Any]:
    return lambda model, tokenizer, rows: whole(model, tokenizer, rows[:8])


def spec_of(arch: str) -> ModelSpec:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return ModelSpec.from_config(plain(compose("train", [f"model=tinyworld_{arch}"]).model))


@pytest.mark.full
@pytest.mark.parametrize("arch", built.NAMES)
def test_planned_before_and_built_in_the_same_shape(arch: str) -> None:
    spec = spec_of(arch)
    planned = spec.planned_config()
    assert not Path(spec.path).exists()
    there = spec_of(arch).config  # builds it
    assert spec.shape is not None
    assert {key: getattr(there, key) for key in spec.shape} == dict(spec.shape)
    assert type(there) is type(planned)
    model = AutoModelForCausalLM.from_pretrained(spec.path)
    assert model.dtype == torch.bfloat16
    assert f"tinyworld-{arch}" in (Path(spec.path) / "README.md").read_text()
    assert f"arch={arch} to=DIR" in (Path(spec.path) / "README.md").read_text()


@pytest.mark.full
def test_once_and_never_half(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(resolve("tinyworld:mistral"))
    left = folder.with_name(f".{folder.name}.draft")  # by a process that was killed
    left.mkdir(parents=True)
    (left / "config.json").write_text("{")
    provide(str(folder))
    assert json.loads((folder / "config.json").read_text())["model_type"] == "mistral"
    assert not left.exists()
    assert "building the tiny model tinyworld:mistral" in capsys.readouterr().err
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    provide(str(folder))
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp
    assert capsys.readouterr().err == ""


def test_nothing_else_is_built(tmp_path: Path) -> None:
    for path in (
        tmp_path / "tinyworld-models" / "mistral-0",
        tmp_path / "cache" / "tinyworld-models" / "gpt9-1",
    ):
        provide(str(path))
        assert not path.exists()


@pytest.mark.full
def test_a_run_builds_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = succeed("train", "model=tinyworld_olmo3", "objective=npo", *QUICK)
    assert "building the tiny model tinyworld:olmo3" in done.err
    results = json.loads((Path(done.run_dir) / "results.json").read_text())
    assert results["status"] == "completed"
