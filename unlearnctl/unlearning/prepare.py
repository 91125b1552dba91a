"""Check a training config against its model before weights load: objective, data, names, layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, open_dict

from unlearnctl.config.checks import (
    check_lengths,
    check_model,
    check_read,
    check_writable,
    trainer_settings,
    try_optimizer,
)
from unlearnctl.config.depth import at_depth
from unlearnctl.config.instantiate import build_objective, build_suites, plain
from unlearnctl.config.tiny_world import check_world
from unlearnctl.config.trackers import build_tracker
from unlearnctl.data.spec import DataSpec
from unlearnctl.models.adapters import Lora, adaptable
from unlearnctl.models.partial.tapped import can_remember
from unlearnctl.models.skeleton import Skeleton, skeleton
from unlearnctl.models.spec import ModelSpec
from unlearnctl.models.trainable import from_block, lowest_block, match
from unlearnctl.objectives.base import Objective
from unlearnctl.objectives.protocols import HasParts, UsesProbes, choosing_layers, parts_of
from unlearnctl.probes.fit import load_probes
from unlearnctl.training.settings import TrainerSettings
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from unlearnctl.evaluation.evaluate import Suite


@dataclass(frozen=True)
class Prepared:
    """Holds what a config means for its model, once it is known to make sense."""

    spec: ModelSpec
    skeleton: Skeleton
    objective: Objective
    settings: TrainerSettings
    suites: dict[str, Suite]
    trainable: list[str]
    lowest: int
    top: int  # highest block that must run in training
    trunk: bool  # whether only blocks 0..top are loaded for training
    lora: Lora | None  # train low-rank updates of `trainable` instead


def prepare(cfg: DictConfig, offline: bool = False) -> Prepared:
    """Check a training config against its model; `offline` plans from `model.shape` without any access.

    Raises:
        UserError: one line that names the key at fault.
    """
    if "eval" not in cfg:  # what Hydra makes of eval=[]
        with open_dict(cfg):
            cfg.eval = {}
    build_tracker(plain(cfg.tracker))
    settings, objective = _settings_and_objective(cfg)
    data = DataSpec.from_config(plain(cfg.data))
    check_topics(objective, plain(cfg.data))
    suites = build_suites(cfg.eval)
    _check_overrides(cfg, settings, suites)
    # Up to here only the config was read; what follows reads the model's folder or asks the hub.
    spec = ModelSpec.from_config(plain(cfg.model))
    _check_loss_scale(settings, spec)
    shape, config = _shape(cfg, spec, offline)
    settings, objective = _settings_and_objective(cfg, shape.num_blocks)
    check_layers(objective, shape, spec.name)
    _check_probes(objective)
    head = any(need.head for need in objective.needs().values())
    trainable, top = _what_trains(objective, settings, shape, head)
    trunk = _wants_trunk(settings, head, shape)
    if settings.sharding == "fsdp":
        _check_sharded_reference(objective, settings, trainable, shape)
    lowest = lowest_block(trainable, shape)
    check_lengths(data, config)
    check_read(suites, "eval", config)
    try_optimizer(
        {**settings.optimizer, "lr": settings.optimizer.get("lr") or 1.0}
    )  # relative rates need weights
    return Prepared(spec, shape, objective, settings, suites, trainable, lowest, top, trunk, settings.lora)


def _shape(cfg: DictConfig, spec: ModelSpec, offline: bool) -> tuple[Skeleton, PretrainedConfig]:
    """Check the model as far as that needs no weights; returns its skeleton and its own config."""
    if not spec.is_local:  # before the hub is asked
        check_world(cfg, spec)
    config = spec.planned_config() if offline else spec.config
    if not offline or spec.is_local:
        check_writable(spec)
    shape = skeleton(config, spec.blocks, spec.trust_remote_code)
    if not offline:
        check_model(spec, shape)
    check_world(cfg, spec)
    return shape, config


def _what_trains(
    objective: Objective, settings: TrainerSettings, shape: Skeleton, head: bool
) -> tuple[list[str], int]:
    """Return the tensors that train, and the highest block that must run; the `head` needs all of them."""
    # A tied tensor has two names, and under both of them it would be trained and saved twice.
    names = [name for name in shape.shapes if name not in shape.tied]
    matched = match(settings.trainable or objective.trainable(shape), names)
    if settings.train_from is not None:
        matched = from_block(matched, settings.train_from, shape)
    # With the head every block runs, so nothing lies above what is read.
    if head:
        trainable, top = matched, shape.num_blocks - 1
    else:
        top = max(max(need.layers) for need in objective.needs().values())
        trainable = _reached(matched, shape, top)
    return adaptable(trainable, shape) if settings.lora else trainable, top


def _check_loss_scale(settings: TrainerSettings, spec: ModelSpec) -> None:
    """Refuse fp16 with weights in half precision: their gradients cannot be divided by the loss scale."""
    if settings.mixed_precision == "fp16" and spec.dtype != "float32":
        raise UserError(
            f"trainer.mixed_precision=fp16: its loss scale needs weights in float32, model.dtype={spec.dtype} "
            "has others; use model.dtype=float32, or mixed_precision=bf16"
        )


def _settings_and_objective(cfg: DictConfig, blocks: int = 32) -> tuple[TrainerSettings, Objective]:
    """Build both; shares of the depth become blocks of a model with so many.

    `prepare` does so twice: before the model is known, so that wrong values are refused before the hub is asked for
    it, and then in its depth.
    """
    settings = trainer_settings(at_depth(plain(cfg.trainer), blocks))
    objective = build_objective(cfg.objective, blocks)
    if settings.meta and settings.meta.layers:
        choosing_layers(objective)
        every = sorted({layer for choice in settings.meta.choices() for layer in choice})
        node: dict[Any, Any] = {**plain(cfg.objective), "layer": every}
        objective = build_objective(DictConfig(node), blocks)
    return settings, objective


def _check_overrides(cfg: DictConfig, settings: TrainerSettings, suites: Mapping[str, Any]) -> None:
    if settings.meta and settings.meta.reward == "texts":
        return  # no suite is asked
    if settings.monitor.every and not suites:
        raise UserError(
            f"trainer.monitor.every={settings.monitor.every}: in-training evaluation needs a suite in eval=[...]"
        )
    if settings.monitor.every and settings.monitor.overrides:
        build_suites(cfg.eval, settings.monitor.overrides)


def check_topics(objective: Objective, data: Mapping[str, Any]) -> None:
    """Refuse an objective of several parts that are not the data's forget topics, in their order."""
    topics = list(DataSpec.from_config(data).forget)
    if isinstance(objective, HasParts) and list(objective.parts()) != topics:
        raise UserError(
            f"objective.by_topic: its topics {list(objective.parts())} are not those of data={data['name']}, {topics}"
        )


def check_layers(objective: Objective, shape: Skeleton, model: str) -> None:
    """Refuse a block index that the model does not have."""
    for need in objective.needs().values():
        for layer in need.layers:
            if layer >= shape.num_blocks:
                raise UserError(
                    f"objective.layer={layer}: {model} has {shape.num_blocks} blocks, "
                    f"so a layer is 0 to {shape.num_blocks - 1}"
                )


def _check_probes(objective: Objective) -> None:
    """Read the probes that the config names now: the run needs them only after its base has been measured."""
    for _, part in parts_of(objective):
        if isinstance(part, UsesProbes) and (folder := part.probe_folder()):
            load_probes(Path(folder)).of(part.probe_layers())


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


def _wants_trunk(settings: TrainerSettings, head: bool, shape: Skeleton) -> bool:
    asked = str(settings.trunk).lower()
    if asked == "true" and head:
        raise UserError("trainer.trunk=true: this objective needs logits, so every block; use auto or false")
    if asked == "true" and settings.monitor.every:
        raise UserError(
            "trainer.trunk=true: in-training evaluation needs every block; set trainer.monitor.every=0"
        )
    if asked == "true" and not shape.has_trunk:
        raise UserError("trainer.trunk=true: this architecture cannot be loaded in part; use auto or false")
    return asked != "false" and shape.has_trunk and not head and not settings.monitor.every


def _check_sharded_reference(
    objective: Objective, settings: TrainerSettings, trainable: list[str], shape: Skeleton
) -> None:
    """Refuse a trained tensor outside the blocks where a reference is needed: its original value has no slices to pass
    through."""
    needs = objective.needs()
    compared = any(need.reference for need in needs.values())
    outside = next((name for name in trainable if shape.block_of(name) is None), None)
    if outside and compared and not can_remember(needs, hidden=settings.prefix_cache != "none"):
        raise UserError(
            f"trainer.sharding=fsdp: {outside} trains, and the objective compares with the original model; "
            r"train blocks alone, as in 'trainer.trainable=[layers\.]', or use a retain term without a reference"
        )
