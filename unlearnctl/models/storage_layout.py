"""Translates a model's tensors to the names and shapes under which its folder stores them.

transformers renames (GPT-NeoX's head), stacks (the experts of a mixture) and ties tensors as it loads them. Its own
conversions say how, so they are inverted here rather than listed for each architecture.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnctl.models.folder import read_header, shards, weight_index
from unlearnctl.models.hub_cache import cached_folder
from unlearnctl.models.load import load_model
from unlearnctl.models.skeleton import auto_class, skeleton
from unlearnctl.models.spec import ModelSpec
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

SAFETENSORS_TO_TORCH = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def headers(folder: Path) -> dict[str, dict[str, Any]]:
    """Return dtype, shape and offsets of each tensor that transformers would load from the folder."""
    found: dict[str, dict[str, Any]] = {}
    for shard in shards(folder):
        found.update(read_header(folder / shard)[0])
    found.pop("__metadata__", None)
    return found


def outline(spec: ModelSpec) -> PreTrainedModel:
    """Load the model from its local folder as transformers would, but without storage for its tensors."""
    return auto_class(spec.config).from_pretrained(
        spec.path, config=spec.config, device_map="meta", use_safetensors=True, **spec.load_kwargs()
    )


def as_stored(
    model: PreTrainedModel, tensors: Mapping[str, Tensor], folder: Path
) -> dict[str, Tensor] | None:
    """Return the tensors by their names in the folder; None if they are only parts of what is stored there.

    Args:
        model: the model's `outline`.
        tensors: tensors by their names in memory, which the model must have.
        folder: the model folder.
    """
    header = headers(folder)
    out: dict[str, Tensor] = {}
    for names in aliases(model, folder):
        given = next((tensors[name] for name in names if name in tensors), None)
        if given is None:
            continue
        found = False
        for name in names:
            stored = _reverted(model, name, given)
            if _fits(stored, header):
                out |= stored
                found = True
        if not found:
            return None
    return out


def aliases(model: PreTrainedModel, folder: Path) -> list[list[str]]:
    """Group the names of each parameter: a tied one has several, and a folder may store it under each of them."""
    groups: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        groups.setdefault(id(parameter), []).append(name)
    for target, source in getattr(model, "all_tied_weights_keys", {}).items():
        pair = [id(model.get_parameter(name)) for name in (source, target)]
        if pair[0] == pair[1]:  # already one parameter
            continue
        if _same_values(model, (source, target), folder):
            groups[pair[0]] += groups.pop(pair[1])
    return list(groups.values())


def _same_values(model: PreTrainedModel, names: tuple[str, str], folder: Path) -> bool:
    """Return whether transformers will tie two tensors that are both stored: it does if their values are equal.

    The values are read from the folder, since an outline has none.
    """
    import torch
    from safetensors import safe_open

    index, values = weight_index(folder), []
    for name in names:
        for stored in _reverted(model, name, model.get_parameter(name).detach()):
            if stored in index:
                with safe_open(folder / index[stored], framework="pt") as file:
                    values.append(file.get_tensor(stored))
    return len(values) == 2 and torch.equal(*values)


def _reverted(model: PreTrainedModel, name: str, value: Tensor) -> dict[str, Tensor]:
    """Convert a tensor as `save_pretrained` would; empty if it is only a part of what is stored."""
    from transformers.core_model_loading import revert_weight_conversion

    try:
        return revert_weight_conversion(model, {name: value})
    except Exception:  # an operation may fail in any way on a part of its input
        return {}


def _fits(tensors: Mapping[str, Tensor], header: Mapping[str, Mapping[str, Any]]) -> bool:
    return bool(tensors) and all(
        name in header
        and list(value.shape) == header[name]["shape"]
        and header[name]["dtype"] in SAFETENSORS_TO_TORCH
        for name, value in tensors.items()
    )


def in_stored_dtypes(tensors: Mapping[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    """Return the tensors on the CPU, in the dtypes in which the base stores them."""
    import torch

    dtypes = stored_dtypes(spec, list(tensors))
    return {name: value.to("cpu", getattr(torch, dtypes[name])) for name, value in tensors.items()}


def stored_dtypes(spec: ModelSpec, names: list[str]) -> dict[str, str]:
    """Return the dtype, as torch names it, in which the base stores each tensor; `spec.dtype` if that is unknown."""
    folder = Path(spec.path) if spec.is_local else cached_folder(spec.path, spec.revision)
    if folder is None:
        return dict.fromkeys(names, spec.dtype)
    header = headers(folder)
    places = {name: name for name in names if name in header}
    renamed = [name for name in names if name not in header]
    if renamed:
        model = outline(spec)
        parameters = dict(model.named_parameters(remove_duplicate=False))
        for name in (name for name in renamed if name in parameters):
            pieces = as_stored(model, {name: parameters[name].detach()}, folder)
            if pieces:
                places[name] = next(iter(pieces))
    stored = {name: SAFETENSORS_TO_TORCH.get(header[place]["dtype"]) for name, place in places.items()}
    return {name: stored.get(name) or spec.dtype for name in names}


def changed_tensors(spec: ModelSpec, other: Path) -> dict[str, Tensor]:
    """Return the tensors of a model folder that differ from the base's, by their names in memory.

    One pair of tensors is in memory at a time, unless the folders store something under other names than memory
    does: then both models are loaded.

    Raises:
        UserError: the folders do not hold the same architecture.
    """
    import torch
    from safetensors import safe_open

    base = Path(spec.path)
    shapes = skeleton(spec.config, spec.blocks, spec.trust_remote_code).shapes
    _check_same(spec, shapes, other)
    indices = weight_index(base), weight_index(other)
    if set(indices[0]) != set(indices[1]):  # saved by another version, perhaps, under other names
        return _changed_in_memory(spec, other)
    out = {}
    for name in indices[0]:
        pair = []
        for folder, index in zip((base, other), indices, strict=True):
            with safe_open(folder / index[name], framework="pt") as file:
                pair.append(file.get_tensor(name))
        if pair[0].shape != pair[1].shape:
            raise UserError(f"{other}: {name} is {list(pair[1].shape)}, in {base} {list(pair[0].shape)}")
        if not torch.equal(pair[0], pair[1].to(pair[0].dtype)):
            if name not in shapes:
                return _changed_in_memory(spec, other)
            out[name] = pair[1]
    return out


def share_changed(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> float | None:
    """Return the share (0-1) of the tensors' elements that differ from the base's, as `spec.dtype` represents both.

    None where the base stores them under other names. One tensor of the base is in memory at a time.
    """
    import torch
    from safetensors import safe_open

    folder = Path(spec.path) if spec.is_local else cached_folder(spec.path, spec.revision)
    index = weight_index(folder) if folder else {}
    dtype = getattr(torch, spec.dtype)
    changed = total = 0
    for name in tensors.keys() & index.keys():
        assert folder
        with safe_open(folder / index[name], framework="pt") as file:
            base = file.get_tensor(name)
        changed += int((base.to(dtype) != tensors[name].to(dtype)).sum())
        total += base.numel()
    return changed / total if total else None


def _check_same(spec: ModelSpec, shapes: Mapping[str, tuple[int, ...]], other: Path) -> None:
    theirs = ModelSpec(name=other.name, path=str(other), trust_remote_code=spec.trust_remote_code)
    found = skeleton(theirs.config, spec.blocks, spec.trust_remote_code).shapes
    base = Path(spec.path)
    if set(found) != set(shapes):
        name = sorted(set(found) ^ set(shapes))[0]
        raise UserError(f"{other}: not the same architecture as {base}: only one of them has {name}")
    for name, shape in shapes.items():
        if shape != found[name]:
            raise UserError(f"{other}: {name} is {list(found[name])}, in {base} {list(shape)}")


def _changed_in_memory(spec: ModelSpec, other: Path) -> dict[str, Tensor]:
    """Compare the loaded models, in the widest dtype in which the base is stored."""
    import torch

    dtypes = {entry["dtype"] for entry in headers(Path(spec.path)).values()}
    dtype: Any = next((SAFETENSORS_TO_TORCH[name] for name in ("F64", "F32") if name in dtypes), "auto")
    models = [
        load_model(ModelSpec(name=path, path=path, dtype=dtype, trust_remote_code=spec.trust_remote_code))
        for path in (spec.path, str(other))
    ]
    first, second = (dict(model.named_parameters()) for model in models)
    return {
        name: value.detach()
        for name, value in second.items()
        if name in first and not torch.equal(first[name], value.to(first[name].dtype))
    }
