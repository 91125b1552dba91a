"""Export: the files that transformers loads, patched and loaded back; what fails leaves no folder."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.models.tiny import tiny_model
from unlearnctl.models import export as exporting
from unlearnctl.models.delta import save_delta
from unlearnctl.models.export import export
from unlearnctl.models.load import identity, load_model
from unlearnctl.models.spec import ModelSpec
from unlearnctl.utils.errors import UserError

NAME = "model.layers.3.mlp.down_proj.weight"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    tiny_model("llama").save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def exported(base: Path, tmp_path: Path, to: str = "out", dtype: str = "float32") -> torch.Tensor:
    """Change one tensor and export; returns what it was changed to."""
    spec = ModelSpec(name="t", path=str(base), dtype=dtype)
    value = dict(load_model(spec).named_parameters())[NAME] + 1
    save_delta(tmp_path / "ck", {NAME: value}, spec, identity(spec))
    export(spec, tmp_path / "ck", tmp_path / to)
    return value


def loaded(folder: Path) -> torch.Tensor:
    return dict(AutoModelForCausalLM.from_pretrained(folder).named_parameters())[NAME]


@pytest.mark.parametrize("stray", ["model_old.safetensors", "a.safetensors", "zz.safetensors"])
def test_a_stray_file_is_neither_patched_nor_copied(stray: str, base: Path, tmp_path: Path) -> None:
    (base / stray).write_bytes((base / "model.safetensors").read_bytes())
    value = exported(base, tmp_path)
    assert torch.equal(loaded(tmp_path / "out"), value)
    assert not (tmp_path / "out" / stray).exists()


def test_a_stale_index_is_neither_followed_nor_copied(base: Path, tmp_path: Path) -> None:
    old = tiny_model("llama", seed=5)
    old.save_pretrained(tmp_path / "old", max_shard_size="20KB")
    for file in (tmp_path / "old").glob("model*"):
        file.rename(base / file.name)
    value = exported(base, tmp_path)
    assert torch.equal(loaded(tmp_path / "out"), value)
    assert {p.name for p in (tmp_path / "out").glob("model*")} == {"model.safetensors"}


def test_shards_are_those_of_the_index_whatever_it_says_of_their_tensors(tmp_path: Path) -> None:
    base = tmp_path / "base"
    tiny_model("llama").save_pretrained(base, max_shard_size="100KB")
    index = json.loads((base / "model.safetensors.index.json").read_text())
    names = sorted(set(index["weight_map"].values()))
    assert len(names) > 1
    right = index["weight_map"][NAME]
    index["weight_map"][NAME] = next(
        name for name in names if name != right
    )  # transformers does not go by it
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    (base / "model-00009-of-00009.safetensors").write_bytes((base / right).read_bytes())
    value = exported(base, tmp_path)
    assert torch.equal(loaded(tmp_path / "out"), value)
    assert sorted(p.name for p in (tmp_path / "out").glob("*.safetensors")) == names


def test_of_a_tensor_in_two_shards_neither_keeps_the_old_values(base: Path, tmp_path: Path) -> None:
    tensors = load_file(base / "model.safetensors")
    (base / "model.safetensors").unlink()
    save_file(tensors, base / "a.safetensors", metadata={"format": "pt"})
    save_file({NAME: tensors[NAME]}, base / "b.safetensors", metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, "a.safetensors") | {NAME: "b.safetensors"}}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    value = exported(base, tmp_path)
    for shard in ("a", "b"):
        assert torch.equal(load_file(tmp_path / "out" / f"{shard}.safetensors")[NAME], value)


def test_weights_that_config_json_names(base: Path, tmp_path: Path) -> None:
    (base / "mine.safetensors").write_bytes((base / "model.safetensors").read_bytes())
    tiny_model("llama", seed=5).save_pretrained(tmp_path / "other")
    (base / "model.safetensors").write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "transformers_weights": "mine.safetensors"}))
    value = exported(base, tmp_path)
    assert torch.equal(loaded(tmp_path / "out"), value)
    assert {p.name for p in (tmp_path / "out").glob("*.safetensors")} == {"mine.safetensors"}


def test_tensors_that_cannot_be_patched_are_saved_through_transformers(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "as_stored", lambda *args: None)
    value = exported(base, tmp_path, dtype="bfloat16")
    assert torch.equal(loaded(tmp_path / "out"), value)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"


def test_what_does_not_load_as_trained_is_not_exported(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "_patch", lambda *args: None)
    with pytest.raises(UserError) as refused:
        exported(base, tmp_path)
    assert str(refused.value) == (
        f"to={tmp_path / 'out'}: {NAME} does not load as it was trained, so nothing was exported"
    )
    assert {p.name for p in tmp_path.iterdir()} == {"base", "ck"}


def test_what_does_not_load_at_all_is_not_exported(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "_patch", lambda file, stored: file.write_bytes(b"half"))
    with pytest.raises(UserError, match="what was written does not load"):
        exported(base, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"base", "ck"}


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_modes_follow_the_umask(umask: int, base: Path, tmp_path: Path) -> None:
    """Not those of the base's files, which may be read-only."""
    for file in base.iterdir():
        file.chmod(0o400)
    before = os.umask(umask)
    try:
        exported(base, tmp_path)
    finally:
        os.umask(before)
    written = [p for folder in ("out", "ck") for p in (tmp_path / folder).iterdir()]
    assert {stat.S_IMODE(p.stat().st_mode) for p in written} == {0o666 & ~umask}
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o777 & ~umask
