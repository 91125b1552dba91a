"""Define what `conf/trainer/` may hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MinLen
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from unlearnctl.models.adapters import Lora
from unlearnctl.training.meta.settings import MetaSettings
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.validate import check_value

Suites = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Monitor:
    """In-training evaluation: how often, on what, and what it decides."""

    every: NonNegativeInt = 0
    overrides: Suites | None = None
    keep: Literal["last", "best"] = "last"
    max_retain_damage: Annotated[float, Ge(0), Le(1)] | None = None

    def __post_init__(self) -> None:
        if not self.every and (self.keep == "best" or self.max_retain_damage is not None):
            raise UserError(
                "trainer.monitor.every=0: keep=best and max_retain_damage need in-training evaluation; "
                "set it to a number of steps"
            )


@dataclass(frozen=True)
class Checkpoint:
    """Training checkpoints, from which a run that was killed resumes."""

    every: Annotated[NonNegativeFloat, "seconds"] = 300.0
    keep: PositiveInt = 2


@dataclass(frozen=True)
class TrainerSettings:
    """`cfg.trainer`; units: sequences for the batches, optimiser steps for the rest."""

    steps: PositiveInt
    global_batch: PositiveInt
    optimizer: Mapping[str, Any]
    relative_lr: PositiveFloat | None = None  # in units of the RMS of what trains, see training/rate.py
    micro_batch: PositiveInt | None = None
    trainable: Annotated[list[str], MinLen(1)] | None = None  # None: the objective's own choice
    train_from: NonNegativeInt | None = None  # blocks below it are frozen, and all that is in no block
    lora: Lora | None = None
    schedule: Literal["constant", "constant_with_warmup", "linear", "cosine"] = "constant"
    warmup_steps: NonNegativeInt = 0
    clip_norm: PositiveFloat | None = None
    sharpness: NonNegativeFloat = 0.0
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    master_weights: Literal["auto", "none"] = (
        "none"  # a config of before this key was trained without masters
    )
    gradient_checkpointing: bool = False
    on_oom: Literal["stop", "halve"] = "stop"
    compile: bool = False
    trunk: bool | Literal["auto"] = "auto"
    prefix_cache: Literal["none", "memory", "disk"] = "none"
    prefix_cache_gb: PositiveFloat = 20.0
    sharding: Literal["none", "fsdp"] = "none"
    device: Literal["cpu", "cuda"] | None = None
    monitor: Monitor = field(default_factory=Monitor)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    meta: MetaSettings | None = None

    def __post_init__(self) -> None:
        lr = self.optimizer.get("lr")
        check_value("trainer.optimizer.lr", lr, PositiveFloat | None)
        if lr is not None and self.relative_lr is not None:
            raise UserError(
                f"trainer.relative_lr={self.relative_lr:g}: trainer.optimizer.lr={lr:g} is set too; set one to null"
            )
        sharded, half = self.sharding == "fsdp", self.mixed_precision == "fp16"
        if self.sharpness and (sharded or half):
            raise UserError(
                f"trainer.sharpness={self.sharpness}: not with sharding=fsdp or mixed_precision=fp16"
            )
        if sharded and half:
            raise UserError("trainer.mixed_precision=fp16: not with sharding=fsdp; use bf16")
        if sharded and self.monitor.every:
            raise UserError("trainer.sharding=fsdp: no in-training evaluation; set trainer.monitor.every=0")
