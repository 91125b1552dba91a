"""The update that a run or a pair of folders made: the tensors that differ from the base model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from unlearnctl.commands.eval import checkpoint_of
from unlearnctl.config.checks import check_weights, check_writable
from unlearnctl.models.folder import check_folder
from unlearnctl.models.spec import ModelSpec
from unlearnctl.models.stored import changed_tensors
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


def update_of(cfg: DictConfig, spec: ModelSpec) -> dict[str, Tensor] | None:
    """The tensors of `cfg.run_dir`, or those of the folder `cfg.unlearned` that are not the model's.

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
