"""Delta checkpoints, training checkpoints and probes: hostile bytes, checksums made to fit so that they are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.fuzz.target import Target, scratch
from unlearnctl.models.delta import read_delta, save_delta
from unlearnctl.models.folder import read_header
from unlearnctl.models.spec import ModelSpec
from unlearnctl.probes.fit import Probes, load_probes, save_probes
from unlearnctl.training.checkpoint import Damaged, _digest, read, write
from unlearnctl.utils.errors import UserError


def _tensors() -> dict[str, Any]:
    import torch

    return {
        "a.weight": torch.arange(6.0).reshape(2, 3),
        "b": torch.zeros(2, dtype=torch.bfloat16),
        "c": torch.ones(0),
    }


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@cache
def _delta() -> dict[str, bytes]:
    save_delta(scratch("delta-seed"), _tensors(), ModelSpec(name="t", path="org/name"), "org/name@1:float32")
    return _files(scratch("delta-seed"))


@cache
def _training() -> dict[str, bytes]:
    state = {"t": _tensors(), "n": [1, (2.5, None)], "d": {0: "x"}}
    return _files(write(scratch("training-seed"), state, {"config": "abc"}, keep=1))


@cache
def _probes() -> dict[str, bytes]:
    import torch

    vectors, five = torch.zeros(2, 4), (torch.ones(2) for _ in range(5))
    probes = Probes((0, 1), vectors, *five, held_out=8)
    save_probes(scratch("probes-seed"), probes, {"pool": "mean"})
    return _files(scratch("probes-seed"))


def _put(folder: Path, files: dict[str, bytes], data: bytes) -> str:
    """Write the files, one of them replaced by `data`; the first byte says which. Returns its name."""
    names = sorted(files)
    chosen = names[data[0] % len(names)] if data else names[0]
    for name in names:
        (folder / name).write_bytes(data[1:] if name == chosen else files[name])
    return chosen


def _edit(path: Path, change: Any) -> None:
    """Let `change` at a JSON mapping, if it still is one."""
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return
    if isinstance(found, dict):
        change(found)
        path.write_text(json.dumps(found))


def delta(data: bytes) -> None:
    """One of the two files replaced; the manifest's checksum fits."""
    folder = scratch("delta")
    _put(folder, _delta(), data)
    digest = hashlib.sha256((folder / "delta.safetensors").read_bytes()).hexdigest()
    _edit(folder / "delta.json", lambda manifest: manifest.update(sha256=digest))
    tensors, manifest = read_delta(folder)
    assert {name: list(value.shape) for name, value in tensors.items()} == manifest["tensors"]
    assert isinstance(manifest["identity"], str)


def header(data: bytes) -> None:
    """A shard of a base folder, as `export` reads its header."""
    file = scratch("header") / "x.safetensors"
    file.write_bytes(data)
    found, start = read_header(file)
    assert isinstance(found, dict)
    assert start >= 8


def training(data: bytes) -> None:
    """One of the three files replaced; all checksums fit."""
    folder = scratch("training")
    _put(folder, _training(), data)

    def fit(manifest: dict[str, Any]) -> None:
        if isinstance(manifest.get("files"), dict):
            for name in ("tensors.safetensors", "state.json"):
                if name in manifest["files"]:
                    manifest["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        manifest["sha256"] = _digest({k: v for k, v in manifest.items() if k != "sha256"})

    _edit(folder / "manifest.json", fit)
    try:
        read(folder)
    except Damaged as error:
        raise UserError(str(error)) from None


def probes(data: bytes) -> None:
    """One of the two files replaced; the checksum fits."""
    folder = scratch("probes")
    _put(folder, _probes(), data)
    digest = hashlib.sha256((folder / "probes.safetensors").read_bytes()).hexdigest()
    _edit(folder / "probes.json", lambda manifest: manifest.update(sha256=digest))
    load_probes(folder)


def _seeds(files: dict[str, bytes]) -> Sequence[bytes]:
    return [bytes([place]) + files[name] for place, name in enumerate(sorted(files))]


TARGETS = [
    Target("delta", delta, lambda: _seeds(_delta()), 2),
    Target("delta-header", header, lambda: [_delta()["delta.safetensors"]], 1),
    Target("training-checkpoint", training, lambda: _seeds(_training()), 2),
    Target("probes", probes, lambda: _seeds(_probes()), 1),
]
