"""Delta checkpoints: exact, atomic, checked; export reloads in plain transformers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.models.tiny import make_batch
from unlearnctl.models.delta import apply_delta, read_delta, save_delta
from unlearnctl.models.export import export
from unlearnctl.models.load import identity, load_model
from unlearnctl.models.spec import ModelSpec
from unlearnctl.models.storage_layout import stored_dtypes
from unlearnctl.utils.errors import UserError


def changed(folder: Path) -> tuple[ModelSpec, dict[str, torch.Tensor]]:
    spec = ModelSpec(name="tiny", path=str(folder))
    model = load_model(spec)
    names = [n for n, p in model.named_parameters() if ".3." in n and p.ndim == 2]
    return spec, {n: p + torch.randn_like(p) for n, p in model.named_parameters() if n in names}


def test_round_trip_is_exact(folder: Path, tmp_path: Path) -> None:
    spec, tensors = changed(folder)
    manifest = save_delta(tmp_path / "ck", tensors, spec, identity(spec))
    back, again = read_delta(tmp_path / "ck")
    assert again == manifest
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[n], tensors[n]) for n in tensors)
    assert {p.name for p in (tmp_path / "ck").iterdir()} == {"delta.safetensors", "delta.json"}


def test_export_opens_in_plain_transformers_and_computes_the_same(folder: Path, tmp_path: Path) -> None:
    spec, tensors = changed(folder)
    save_delta(tmp_path / "ck", tensors, spec, identity(spec))
    export(spec, tmp_path / "ck", tmp_path / "out")
    ours, batch = load_model(spec), make_batch()
    apply_delta(ours, tensors)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert plain.dtype == torch.float32
    with torch.no_grad():
        a, b = (m(batch.input_ids, use_cache=False).logits for m in (ours, plain))
    assert torch.equal(a, b)


def test_export_touches_only_what_changed(folder: Path, tmp_path: Path) -> None:
    spec, tensors = changed(folder)
    save_delta(tmp_path / "ck", tensors, spec, identity(spec))
    export(spec, tmp_path / "ck", tmp_path / "out")
    base, merged = load_model(spec), AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    for (name, p), q in zip(base.named_parameters(), merged.parameters(), strict=True):
        assert torch.equal(p, q) == (name not in tensors), name


@pytest.mark.parametrize("damage", ["truncate", "flip", "manifest", "format", "missing"])
def test_damage_is_found(damage: str, tmp_path: Path) -> None:
    spec = ModelSpec(name="tiny", path="org/name")
    save_delta(tmp_path, {"a": torch.ones(8)}, spec, "x")
    file, manifest = tmp_path / "delta.safetensors", tmp_path / "delta.json"
    data = bytearray(file.read_bytes())
    if damage == "truncate":
        file.write_bytes(data[:-3])
    elif damage == "flip":
        data[-1] ^= 1
        file.write_bytes(data)
    elif damage == "manifest":
        manifest.write_text(manifest.read_text()[:-9])
    elif damage == "format":
        manifest.write_text(json.dumps({"format": "other/1"}))
    else:
        manifest.unlink()
    with pytest.raises(UserError, match="delta"):
        read_delta(tmp_path)


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import safetensors.torch

    spec = ModelSpec(name="tiny", path="org/name")
    save_delta(tmp_path, {"a": torch.ones(8)}, spec, "x")

    def fails(tensors: object, path: Path, metadata: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(safetensors.torch, "save_file", fails)
    with pytest.raises(OSError, match="disk full"):
        save_delta(tmp_path, {"a": torch.zeros(8)}, spec, "x")
    assert torch.equal(read_delta(tmp_path)[0]["a"], torch.ones(8))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_checkpoint_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    spec, _ = changed(folder)
    save_delta(tmp_path / "ck", {"no.such.weight": torch.ones(2)}, spec, identity(spec))
    with pytest.raises(UserError, match=r"no\.such\.weight"):
        export(spec, tmp_path / "ck", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match=r"no\.such\.weight"):
        apply_delta(load_model(spec), {"no.such.weight": torch.ones(2)})


def test_stored_dtypes_are_read_from_the_shards(folder: Path, tmp_path: Path) -> None:
    spec, tensors = changed(folder)
    assert set(stored_dtypes(spec, list(tensors)).values()) == {"float32"}
    load_model(ModelSpec(name="t", path=str(folder), dtype="bfloat16")).save_pretrained(tmp_path / "half")
    half = ModelSpec(name="t", path=str(tmp_path / "half"))
    assert set(stored_dtypes(half, list(tensors)).values()) == {"bfloat16"}
