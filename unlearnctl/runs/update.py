"""Read the update that a run or a pair of folders made: the tensors that differ from the base model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from unlearnctl.config.checks import check_weights, check_writable
from unlearnctl.models.delta import read_delta
from unlearnctl.models.folder import check_folder
from unlearnctl.models.load import identity, same_base
from unlearnctl.models.skeleton import skeleton
from unlearnctl.models.spec import ModelSpec
from unlearnctl.models.storage_layout import changed_tensors
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


def update_of(cfg: DictConfig, spec: ModelSpec) -> dict[str, Tensor] | None:
    """Return the tensors of `cfg.run_dir`, or those of the folder `cfg.unlearned` that differ from the model's.

    None where neither is given.

    Raises:
        UserError: a damaged checkpoint, one of another base, or a folder with the same weights.
    """
    if cfg.run_dir is not None:
        return checkpoint_of(cfg, spec)[0]
    if cfg.unlearned is None:
        return None
    key = f"unlearned={cfg.unlearned}"
    check_folder(str(cfg.unlearned), "unlearned")
    if Path(str(cfg.unlearned)).is_dir():
        check_writable(ModelSpec(name="unlearned", path=str(cfg.unlearned)), key)
    check_weights(Path(str(cfg.unlearned)), key)
    if not Path(str(cfg.unlearned)).is_dir() or not spec.is_local:
        raise UserError(f"{key}: needs two local folders, this one and model.path={spec.path}")
    tensors = changed_tensors(spec, Path(str(cfg.unlearned)))
    if not tensors:
        raise UserError(f"{key}: its weights are those of model.path={spec.path}")
    return tensors


def checkpoint_of(cfg: DictConfig, spec: ModelSpec) -> tuple[dict, dict]:
    """Read the run's changed tensors and their manifest; both are empty when no run is given.

    Raises:
        UserError: the checkpoint is damaged or was made from another base model.
    """
    if cfg.run_dir is None:
        return {}, {}
    tensors, manifest = read_delta(Path(str(cfg.run_dir)) / "checkpoint")
    check_base(spec, manifest, f"run_dir={cfg.run_dir}")
    return tensors, manifest


def check_base(spec: ModelSpec, manifest: Mapping[str, Any], key: str) -> None:
    """Refuse a checkpoint whose base is not this model, or whose tensors do not fit it."""
    made_in = manifest.get("dtype", spec.dtype)
    if made_in != spec.dtype:
        raise UserError(f"model.dtype={spec.dtype}: {key} was made in {made_in}; leave model.dtype out")
    if not same_base(spec, manifest):
        raise UserError(
            f"{key}: its checkpoint was made from {manifest['identity']}, but model.path has {identity(spec)}"
        )
    shapes = skeleton(spec.config, spec.blocks, spec.trust_remote_code).shapes
    for name, shape in manifest["tensors"].items():
        if tuple(shape) != shapes.get(name):
            raise UserError(f"{key}: its checkpoint's {name} {shape} does not fit the model")
