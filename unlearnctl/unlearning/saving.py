"""Save what a run changed: collect the tensors, store them as the base model is stored, and write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from unlearnctl.models.adapters import merged
from unlearnctl.models.delta import save_delta
from unlearnctl.models.sharding import whole
from unlearnctl.models.storage_layout import stored_dtypes
from unlearnctl.runs.directory import keep_config

if TYPE_CHECKING:
    from torch import Tensor

    from unlearnctl.models.partial.tapped import TappedModel
    from unlearnctl.models.spec import ModelSpec
    from unlearnctl.unlearning.prepare import Prepared
    from unlearnctl.unlearning.setup import Setup


def changed_tensors(prepared: Prepared, tapped: TappedModel) -> dict[str, Tensor]:
    """Copy the changed tensors to the CPU, by their names in the base model; every rank has to ask."""
    if prepared.lora:
        tensors = merged(tapped.model, prepared.trainable)
    else:
        tensors = {name: p.detach() for name, p in tapped.trained().items()}
    # Cloned: on a CPU, `cpu()` returns the tensor itself, which training would go on changing.
    return {name: whole(value).cpu().clone() for name, value in tensors.items()}


def as_stored(tensors: Mapping[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    """Convert tensors to the dtype in which the base folder stores them."""
    dtypes = stored_dtypes(spec, list(tensors))
    return {name: tensor.to(getattr(torch, dtypes[name])) for name, tensor in tensors.items()}


def save_changes(setup: Setup, tensors: Mapping[str, Tensor], base: str) -> dict[str, Any]:
    """Write the changed tensors; returns their manifest, empty if one is not finite and nothing is saved."""
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        return {}
    return save_delta(setup.directory / "checkpoint", tensors, setup.prepared.spec, base)


def recreate_directory(setup: Setup) -> None:
    """Create the directory again if somebody removed it: what was computed is worth more."""
    directory = setup.directory
    if not (directory / "config.yaml").is_file():
        print(f"{directory}: removed since the run began; created again")
        directory.mkdir(parents=True, exist_ok=True)
        keep_config(directory, setup.cfg)
