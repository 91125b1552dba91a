"""What `trust_remote_code` says before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unlearnctl.models.remote_code import code_of
from unlearnctl.models.spec import ModelSpec


def folder(path: Path) -> Path:
    path.mkdir()
    models = {"AutoConfig": "shape_x.Config", "AutoModelForCausalLM": "other/repo--model_x.Model"}
    (path / "config.json").write_text(json.dumps({"model_type": "x", "auto_map": models}))
    tokenizers = {"AutoTokenizer": ["words_x.Slow", None]}
    (path / "tokenizer_config.json").write_text(json.dumps({"auto_map": tokenizers}))
    (path / "model.safetensors").write_text("")
    return path


def test_files_are_named(tmp_path: Path) -> None:
    place = folder(tmp_path / "m")
    files = "other/repo: model_x.py, shape_x.py, words_x.py"
    assert code_of(str(place), None) == f"model.trust_remote_code=true: runs Python files of {place}: {files}"


def test_a_model_without_code() -> None:
    shown = code_of("org/nothing", None)
    assert "org/nothing at revision main (not pinned) names no Python files" in shown


def test_said_before_it_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = folder(tmp_path / "m")
    (place / "shape_x.py").write_text("raise ValueError('it ran')\n")
    with pytest.raises(Exception, match="it ran"):
        ModelSpec("m", str(place), trust_remote_code=True).config  # noqa: B018
    assert capsys.readouterr().out.startswith("model.trust_remote_code=true: runs Python files of ")
