"""Everything of a training run that can fail before weights load: config, data, tokenizer, names, disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_type_hints

from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from unlearnctl.errors import UserError
from unlearnctl.models.spec import ModelSpec, Skeleton, skeleton
from unlearnctl.models.trainable import lowest_block, match
from unlearnctl.objectives.base import Objective
from unlearnctl.training.settings import TrainerSettings

if TYPE_CHECKING:
    from unlearnctl.evaluation.run import Suite


@dataclass
class Prepared:
    """A run that is known to make sense."""

    spec: ModelSpec
    skeleton: Skeleton
    objective: Objective
    settings: TrainerSettings
    suites: dict[str, Suite]
    trainable: list[str]
    lowest: int
    top: int  # highest block that must run in training
    trunk: bool  # whether only blocks 0..top are loaded for training


def prepare(cfg: DictConfig, offline: bool = False) -> Prepared:
    """Check a training config against its model; `offline` plans from `model.shape` without any access.

    Raises:
        UserError: one line that names the key at fault.
    """
    settings = TrainerSettings.from_config(plain(cfg.trainer))
    objective = build_objective(cfg.objective)
    suites = build_suites(cfg.eval)
    _check_overrides(settings, suites)
    spec = ModelSpec.from_config(plain(cfg.model))
    config = spec.planned_config() if offline else spec.config
    shape = skeleton(config, spec.blocks, spec.trust_remote_code)
    check_layers(objective, shape, spec.name)
    names = [name for name in shape.shapes if name not in shape.tied]
    matched = match(settings.trainable or objective.trainable(shape), names)
    needs = objective.needs().values()
    head = any(need.head for need in needs)
    top = shape.num_blocks - 1 if head else max(max(need.layers) for need in needs)
    trainable = matched if head else _reached(matched, shape, top)
    trunk = _wants_trunk(settings, head)
    return Prepared(
        spec, shape, objective, settings, suites, trainable, lowest_block(trainable, shape), top, trunk
    )


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The resolved config as plain containers."""
    out = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(out, dict)
    return out  # type: ignore[return-value]


def build_objective(cfg: DictConfig) -> Objective:
    """Instantiate `cfg.objective`; its `name` is for paths and tables only."""
    return _build("objective", {k: v for k, v in plain(cfg).items() if k != "name"})


def build_suites(cfg: DictConfig, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """Instantiate the suites of `cfg.eval`, with some settings replaced."""
    return {
        name: _build(f"eval.{name}", {**suite, **(overrides or {}).get(name, {})})
        for name, suite in plain(cfg).items()
    }


def _build(key: str, node: Mapping[str, Any]) -> Any:
    try:
        _check_types(key, node)
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        raise UserError(f"{key}: {_first_line(cause or error)}") from error


def _check_types(key: str, node: Mapping[str, Any]) -> None:
    """Refuse text where the constructor wants a number, before it fails somewhere inside."""
    wanted = get_type_hints(vars(get_class(node["_target_"])).get("__init__", object))
    for name, value in node.items():
        number = wanted.get(name) in (int, float, int | None, float | None)
        if number and (isinstance(value, str | bool) or (value is None and wanted[name] in (int, float))):
            raise UserError(f"{key}.{name}={value}: must be a number")


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", maxsplit=1)[0]


def _check_overrides(settings: TrainerSettings, suites: Mapping[str, Any]) -> None:
    if settings.monitor.every and not suites:
        raise UserError("trainer.monitor.every: in-training evaluation needs a suite in eval=[...]")


def check_layers(objective: Objective, shape: Skeleton, model: str) -> None:
    """Refuse a block index that the model does not have."""
    for need in objective.needs().values():
        for layer in need.layers:
            if layer >= shape.num_blocks:
                raise UserError(
                    f"objective.layer={layer}: {model} has {shape.num_blocks} blocks, "
                    f"so a layer is 0 to {shape.num_blocks - 1}"
                )


def _reached(matched: list[str], shape: Skeleton, top: int) -> list[str]:
    """Leave out what lies above the last block that the objective reads: it would get no gradient.

    Raises:
        UserError: nothing is left.
    """
    reached = [name for name in matched if lowest_block([name], shape) <= top]
    if not reached:
        raise UserError(
            f"trainer.trainable: {matched[0]} lies above block {top}, the last one that this objective reads, "
            "and so does everything else it matches"
        )
    return reached


def _wants_trunk(settings: TrainerSettings, head: bool) -> bool:
    asked = str(settings.trunk).lower()
    if asked == "true" and head:
        raise UserError("trainer.trunk=true: this objective needs logits, so every block; use auto or false")
    if asked == "true" and settings.monitor.every:
        raise UserError(
            "trainer.trunk=true: in-training evaluation needs every block; set trainer.monitor.every=0"
        )
    return asked != "false" and not head and not settings.monitor.every
