"""Delta checkpoints: only the changed tensors, in safetensors, written atomically and checksummed.

A folder holds `delta.safetensors` and `delta.json` {format, base, revision, identity, content, dtype, sha256, tensors}.
Values are the trained tensors themselves, not differences, so that a merge is exact.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnctl.models.load import content
from unlearnctl.models.spec import ModelSpec
from unlearnctl.utils.atomic import replacing
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.hashing import sha256
from unlearnctl.utils.safe_json import loads

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

FORMAT = "unlearnctl/delta/1"


def save_delta(folder: Path, tensors: Mapping[str, Tensor], spec: ModelSpec, identity: str) -> dict[str, Any]:
    """Write the changed tensors, then the manifest that makes them valid; return the manifest.

    A crash between the two leaves tensors that do not match the old manifest, and so never half a checkpoint.
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
        "content": content(spec),
        "dtype": spec.dtype,
        "sha256": sha256(folder / "delta.safetensors"),
        "tensors": {name: list(value.shape) for name, value in ready.items()},
    }
    with replacing(folder / "delta.json") as temporary:
        temporary.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return a hex digest of names, dtypes, shapes and values."""
    import torch

    seen = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        seen.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        # As bytes, since numpy has no bfloat16.
        seen.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return seen.hexdigest()


def read_delta(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the manifest of a delta checkpoint.

    Raises:
        UserError: no checkpoint, an unknown format, a damaged file, or tensors that the manifest does not list.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    manifest = read_manifest(folder)
    file = folder / "delta.safetensors"
    # The checksum is compared before the file, which others may have sent, is parsed.
    if not file.is_file() or sha256(file) != manifest["sha256"]:
        raise UserError(f"{file}: damaged or cut short (its checksum differs from the manifest's)")
    try:
        tensors = load_file(file)
    except SafetensorError as error:
        raise UserError(f"{file}: not a safetensors file: {error}") from error
    # The checksum says that file and manifest belong together, not that the manifest is true.
    shapes = {name: list(value.shape) for name, value in tensors.items()}
    if shapes != manifest["tensors"] or not tensors:
        raise UserError(f"{file}: its tensors are not the ones that delta.json lists")
    for name, value in tensors.items():
        if not value.is_floating_point():
            raise UserError(
                f"{file}: {name} is {str(value.dtype).removeprefix('torch.')}, not floating point"
            )
        if not value.isfinite().all():
            raise UserError(f"{file}: {name} holds NaN or infinite values")
    return tensors, manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read `delta.json`.

    Raises:
        UserError: it is missing, not JSON, or in another format.
    """
    path = folder / "delta.json"
    try:
        manifest = loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder}: no delta checkpoint here (delta.json is missing)") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise UserError(f"{path}: not a delta checkpoint of format {FORMAT}")
    for key, kind in (("identity", str), ("sha256", str), ("tensors", dict)):
        if not isinstance(manifest.get(key), kind):
            raise UserError(f"{path}: damaged: its {key} is missing or of the wrong type")
    return manifest


def apply_delta(model: PreTrainedModel, tensors: Mapping[str, Tensor]) -> None:
    """Copy the changed tensors into a loaded whole model, in place.

    Raises:
        UserError: the model lacks a tensor, or has it in another shape.
    """
    import torch

    # Duplicates included: a delta may name a tied tensor by either of its names.
    parameters = dict(model.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, value in tensors.items():
            if name not in parameters or parameters[name].shape != value.shape:
                raise UserError(f"the checkpoint's {name} {list(value.shape)} does not fit the model")
            parameters[name].copy_(value)


@contextmanager
def applied(model: PreTrainedModel, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Put the changed tensors into a loaded whole model, and the model's own back at the end.

    Raises:
        UserError: see `apply_delta`.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    own = {name: parameters[name].detach().clone() for name in tensors}
    apply_delta(model, tensors)
    try:
        yield
    finally:
        apply_delta(model, own)
