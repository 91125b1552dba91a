"""Loads weights: the whole model, or only the trunk that a representation objective needs."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnctl.models.folder import read_header, shards
from unlearnctl.models.skeleton import auto_class
from unlearnctl.models.spec import ModelSpec
from unlearnctl.utils.errors import UserError, brief

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from unlearnctl.models.partial.tapped import TappedModel


def load_model(spec: ModelSpec, device: str = "cpu") -> PreTrainedModel:
    """Load the whole causal language model, frozen and in eval mode, from safetensors only.

    Raises:
        UserError: the weights are missing, not in safetensors, or do not fit the config.
    """
    return _load(auto_class(spec.config), spec, spec.config, device)


def load_trunk(spec: ModelSpec, num_blocks: int, device: str = "cpu") -> PreTrainedModel:
    """Load the embedding, the first `num_blocks` blocks and the final norm; no other tensor is read."""
    from transformers import AutoModel

    return _load(AutoModel, spec, truncated(spec.config, num_blocks), device)


def truncated(config: PretrainedConfig, num_blocks: int) -> PretrainedConfig:
    """Copy a config for the first `num_blocks` blocks, with per-layer lists shortened to match."""
    short = copy.deepcopy(config)
    text = short.get_text_config()  # the config itself, unless the model reads images as well
    depth = text.num_hidden_layers
    # Such as `layer_types`: transformers refuses a list whose length is not the number of blocks.
    for key, value in vars(text).items():
        if isinstance(value, list) and len(value) == depth and "layer" in key:
            setattr(text, key, value[:num_blocks])
    text.num_hidden_layers = num_blocks
    return short


def _load(kind: type, spec: ModelSpec, config: PretrainedConfig, device: str) -> PreTrainedModel:
    from safetensors import SafetensorError

    try:
        model, info = kind.from_pretrained(  # type: ignore[attr-defined]
            spec.path,
            config=config,
            dtype=spec.torch_dtype,
            **({"attn_implementation": spec.attn_implementation} if spec.attn_implementation else {}),
            use_safetensors=True,  # pickles may run code when they are read
            output_loading_info=True,
            **spec.load_kwargs(),
        )
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise UserError(f"model.path={spec.path}: cannot load its weights: {brief(error)}") from error
    if info["missing_keys"]:  # transformers would fill them with random values
        raise UserError(f"model.path={spec.path}: its weights lack {sorted(info['missing_keys'])[0]}")
    return model.to(device).requires_grad_(False).eval()


def enable_checkpointing(model: PreTrainedModel) -> None:
    """Recompute each block in the backward pass; Hugging Face blocks do so in train mode only."""
    name = "activation_checkpointing_enable"  # its name in newer versions of transformers
    if not hasattr(model, name):
        name = "gradient_checkpointing_enable"
    # The reentrant variant gives no gradients to a block none of whose inputs needs one, and the stream from a frozen
    # prefix does not.
    getattr(model, name)({"use_reentrant": False})
    model.train()


def compile_blocks(tapped: TappedModel) -> None:
    """Compile each block with torch.compile, except the first that trains, which the engine splits."""
    for index, block in enumerate(tapped.decoder.blocks):
        if index != tapped.lowest:
            block.compile()


def identity(spec: ModelSpec) -> str:
    """Return a string that changes whenever the weights do: hub id and revision, or a digest of the folder's files.

    Of files over 64 MiB the size, the first and last MiB and the modification time are hashed, not every byte.
    """
    if not spec.is_local:  # not downloaded for this: a plan needs no weights
        return f"{spec.path}@{spec.revision or 'main'}:{spec.dtype}"
    digest = hashlib.sha256()
    folder = Path(spec.path)
    for file in sorted([*folder.glob("*.safetensors"), *folder.glob("*.json")]):
        digest.update(file.name.encode() + _digest(file))
    return f"{folder.name}@{digest.hexdigest()[:16]}:{spec.dtype}"


def same_base(spec: ModelSpec, manifest: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint was made from these weights, even if they have moved or have new neighbours."""
    found = identity(spec)
    if found == manifest["identity"]:
        return True
    if not spec.is_local or manifest.get("dtype") != spec.dtype:
        return False
    moved = found.rpartition("@")[2] == manifest["identity"].rpartition("@")[2]
    return moved or (content(spec) or "unknown") == manifest.get("content")


def content(spec: ModelSpec) -> str:
    """Return a digest of a local model's config and weights that, unlike `identity`, is the same for a copy.

    Empty for a hub model, and for a folder that cannot be read. Of files over 64 MiB, the header and both ends of each
    tensor are hashed: a copy has another modification time, so something in every tensor must be read.
    """
    with suppress(OSError, ValueError, KeyError, TypeError, UserError):
        return _content(Path(spec.path)) if spec.is_local else ""
    return ""


def _content(folder: Path, whole_below: int = 64 << 20, edge: int = 4096) -> str:
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for name in shards(folder):
        file = folder / name
        size = file.stat().st_size
        digest.update(f"{name} {size}".encode())
        if size <= whole_below:
            digest.update(file.read_bytes())
            continue
        header, start = read_header(file)
        spans = [entry["data_offsets"] for entry in header.values() if "data_offsets" in entry]
        with file.open("rb") as f:
            for first, end in [(-start, edge - start), *spans]:  # the header itself comes first
                for place in (first, max(first, end - edge)):
                    f.seek(start + place)
                    digest.update(f.read(edge))
    return digest.hexdigest()


def _digest(file: Path, whole_below: int = 64 << 20, edge: int = 1 << 20) -> bytes:
    stat = file.stat()
    if stat.st_size <= whole_below:
        return hashlib.sha256(file.read_bytes()).digest()
    with file.open("rb") as f:
        head = f.read(edge)
        f.seek(-edge, 2)
        return hashlib.sha256(head + f.read(edge) + f"{stat.st_size}:{stat.st_mtime_ns}".encode()).digest()
