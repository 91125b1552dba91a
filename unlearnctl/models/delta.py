"""Delta checkpoints: the changed tensors alone, safetensors, written atomically, checksummed.

A folder holds `delta.safetensors` and `delta.json` {format, base, revision, identity, dtype, sha256, tensors}.
Values are the trained tensors themselves (not differences), so that a merge is exact.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnctl.errors import UserError
from unlearnctl.files import flush, naming, replacing
from unlearnctl.models.files import sha256
from unlearnctl.models.folder import read_header, weight_index
from unlearnctl.models.load import content, load_model
from unlearnctl.models.spec import ModelSpec
from unlearnctl.untrusted import loads

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

FORMAT = "unlearnctl/delta/1"
SAFETENSORS_TO_TORCH = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def save_delta(folder: Path, tensors: Mapping[str, Tensor], spec: ModelSpec, identity: str) -> dict[str, Any]:
    """Write the changed tensors, then the manifest that makes them valid.

    Returns the manifest. A crash leaves either the old checkpoint or none, never half of one.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    ready = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with replacing(folder / "delta.safetensors") as temporary:
        save_file(ready, temporary, metadata={"format": "pt"})
    manifest = {
        "format": FORMAT,
        "base": spec.path,
        "revision": spec.revision,
        "identity": identity,
        "content": _content(spec),
        "dtype": spec.dtype,
        "sha256": sha256(folder / "delta.safetensors"),
        "tensors": {name: list(value.shape) for name, value in ready.items()},
    }
    with replacing(folder / "delta.json") as temporary:
        temporary.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def _content(spec: ModelSpec) -> str | None:
    with suppress(OSError, ValueError, UserError):  # gone by now: what was computed is worth more
        return content(Path(spec.path)) if spec.is_local else None
    return None


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Hex digest of names, dtypes, shapes and values."""
    import torch

    seen = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        seen.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        seen.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return seen.hexdigest()


def read_delta(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and manifest of a delta checkpoint.

    Raises:
        UserError: no checkpoint, an unknown format, a damaged file, tensors that the manifest does not name.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    manifest = read_manifest(folder)
    file = folder / "delta.safetensors"
    if not file.is_file() or sha256(file) != manifest["sha256"]:
        raise UserError(f"{file}: damaged or cut short (its checksum is not the manifest's)")
    try:
        tensors = load_file(file)
    except SafetensorError as error:
        raise UserError(f"{file}: not a safetensors file: {error}") from error
    shapes = {name: list(value.shape) for name, value in tensors.items()}
    if shapes != manifest["tensors"] or not tensors:
        raise UserError(f"{file}: its tensors are not those that delta.json names")
    for name, value in tensors.items():
        if not value.is_floating_point():
            raise UserError(
                f"{file}: {name} is {str(value.dtype).removeprefix('torch.')}, not floating point"
            )
        if not value.isfinite().all():
            raise UserError(f"{file}: {name} holds NaN or infinite values")
    return tensors, manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """`delta.json`.

    Raises:
        UserError: it is missing, not JSON or of another format.
    """
    path = folder / "delta.json"
    try:
        manifest = loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder}: no delta checkpoint there (delta.json is missing)") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise UserError(f"{path}: not a delta checkpoint of format {FORMAT}")
    for key, kind in (("identity", str), ("sha256", str), ("tensors", dict)):
        if not isinstance(manifest.get(key), kind):
            raise UserError(f"{path}: damaged, for its {key} is missing or of the wrong kind")
    return manifest


def changed_tensors(base: Path, other: Path) -> dict[str, Tensor]:
    """Tensors of a model folder that differ from the base folder's, one pair in memory at a time.

    Raises:
        UserError: the folders do not hold the same tensors.
    """
    import torch
    from safetensors import safe_open

    indices = weight_index(base), weight_index(other)
    if set(indices[0]) != set(indices[1]):
        name = sorted(set(indices[0]) ^ set(indices[1]))[0]
        raise UserError(f"{other}: not the same architecture as {base}: only one of them has {name}")
    out = {}
    for name in indices[0]:
        pair = []
        for folder, index in zip((base, other), indices, strict=True):
            with safe_open(folder / index[name], framework="pt") as file:
                pair.append(file.get_tensor(name))
        if pair[0].shape != pair[1].shape:
            raise UserError(f"{other}: {name} is {list(pair[1].shape)}, in {base} {list(pair[0].shape)}")
        if not torch.equal(pair[0], pair[1].to(pair[0].dtype)):
            out[name] = pair[1]
    return out


def apply_delta(model: PreTrainedModel, tensors: Mapping[str, Tensor]) -> None:
    """Put the changed tensors into a loaded whole model, in place.

    Raises:
        UserError: a tensor that the model does not have, or of another shape.
    """
    import torch

    parameters = dict(model.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, value in tensors.items():
            if name not in parameters or parameters[name].shape != value.shape:
                raise UserError(f"the checkpoint's {name} {list(value.shape)} does not fit the model")
            parameters[name].copy_(value)


def stored_dtypes(spec: ModelSpec, names: list[str]) -> dict[str, str]:
    """The dtype, as torch names it, in which the base folder stores each tensor (`spec.dtype` off-line)."""
    if not spec.is_local:
        return dict.fromkeys(names, spec.dtype)
    folder = Path(spec.path)
    index = weight_index(folder)
    headers = {shard: read_header(folder / shard)[0] for shard in {index[n] for n in names if n in index}}
    return {
        n: SAFETENSORS_TO_TORCH.get(headers[index[n]][n]["dtype"], spec.dtype) if n in index else spec.dtype
        for n in names
    }


def export(base: Path, delta: Path, to: Path, dtype: str, card: str | None = None) -> None:
    """Write a whole Hugging Face folder: the base's files, the changed tensors written over their bytes.

    Shards are copied and patched in place, so memory stays at one tensor whatever the model's size; only where
    the base stores tensors under other names than transformers gives them (GPT-NeoX's head) is the model loaded.
    `dtype` is what the run computed in; it becomes config.json's, so that plain loading scores the same. `card` is
    the README.md. Until all is written, and flushed to the disk, there is no `to`.

    Raises:
        UserError: the delta does not fit the base, or `to` exists.
        OSError: it cannot be written; what was is removed.
    """
    if to.exists():
        raise UserError(f"to={to}: exists already; choose another folder")
    tensors, _ = read_delta(delta)
    index = weight_index(base)
    partial = to.with_name(to.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with naming(to):
        try:
            _copy(base, partial)
            if set(tensors) <= set(index):
                _patch_shards(partial, tensors, index)
            else:
                _save_through_transformers(base, partial, tensors)
            _set_dtype(partial / "config.json", dtype)
            if card is not None:
                (partial / "README.md").write_text(card, encoding="utf-8")
            for file in partial.iterdir():
                flush(file)
            partial.rename(to)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def _copy(base: Path, to: Path) -> None:
    try:
        shutil.copytree(base, to, ignore=shutil.ignore_patterns("*.bin", "*.pt", "*.pth", "README.md", ".*"))
    except shutil.Error as error:  # one (source, target, reason) for each file
        reason = str(error.args[0][0][2])
        found = re.match(r"\[Errno (\d+)\]", reason)
        number = int(found[1]) if found else errno.EIO
        raise OSError(number, os.strerror(number)) from error


def _set_dtype(file: Path, dtype: str) -> None:
    config = loads(file.read_text(encoding="utf-8"))
    config.pop("torch_dtype", None)
    config["dtype"] = dtype
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _patch_shards(folder: Path, tensors: Mapping[str, Tensor], index: Mapping[str, str]) -> None:
    import torch

    for shard in sorted({index[name] for name in tensors}):
        header, start = read_header(folder / shard)
        with (folder / shard).open("r+b") as file:
            for name in (n for n in tensors if index[n] == shard):
                entry = header[name]
                value = tensors[name].to(getattr(torch, SAFETENSORS_TO_TORCH[entry["dtype"]])).contiguous()
                if list(value.shape) != entry["shape"]:
                    raise UserError(
                        f"{folder.name}: {name} is {entry['shape']}, the checkpoint's {list(value.shape)}"
                    )
                file.seek(start + entry["data_offsets"][0])
                file.write(value.view(torch.uint8).numpy().tobytes())


def _save_through_transformers(base: Path, folder: Path, tensors: Mapping[str, Tensor]) -> None:
    model = load_model(ModelSpec(name=base.name, path=str(base), dtype="auto"))
    apply_delta(model, tensors)
    for file in [*folder.glob("*.safetensors"), *folder.glob("*.index.json")]:
        file.unlink()
    model.save_pretrained(folder)
