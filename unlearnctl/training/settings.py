"""What `conf/trainer/` may hold, checked before anything runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from unlearnctl.training.meta.settings import MetaSettings
from unlearnctl.utils.errors import UserError, unknown, unknown_key

SCHEDULES = ("constant", "constant_with_warmup", "linear", "cosine")


@dataclass(frozen=True)
class Monitor:
    """In-training evaluation: how often, on what, and what it decides."""

    every: int = 0
    overrides: Mapping[str, Mapping[str, Any]] | None = None
    keep: str = "last"
    max_retain_damage: float | None = None


@dataclass(frozen=True)
class Checkpoint:
    """Training checkpoints, from which a run that was killed goes on."""

    every: float = 300.0  # seconds
    keep: int = 2


@dataclass(frozen=True)
class TrainerSettings:
    """`cfg.trainer`; units: sequences for the batches, optimiser steps for the rest."""

    steps: int
    global_batch: int
    optimizer: Mapping[str, Any]
    micro_batch: int | None = None
    trainable: list[str] | None = None
    lora: Mapping[str, Any] | None = None
    schedule: str = "constant"
    warmup_steps: int = 0
    clip_norm: float | None = None
    sharpness: float = 0.0
    mixed_precision: str = "no"
    gradient_checkpointing: bool = False
    on_oom: str = "stop"
    compile: bool = False
    trunk: bool | str = "auto"
    prefix_cache: str = "none"
    prefix_cache_gb: float = 20.0
    sharding: str = "none"
    device: str | None = None
    monitor: Monitor = field(default_factory=Monitor)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    meta: MetaSettings | None = None

    @classmethod
    def from_config(cls, cfg: Mapping[str, Any]) -> TrainerSettings:
        """Take `cfg.trainer`.

        Raises:
            UserError: an unknown key or a value out of range, by its config key.
        """
        values = dict(cfg)
        _known("trainer", values, cls)
        monitor = dict(values.pop("monitor", {}))
        _known("trainer.monitor", monitor, Monitor)
        checkpoint = dict(values.pop("checkpoint", {}))
        _known("trainer.checkpoint", checkpoint, Checkpoint)
        meta = values.pop("meta", None)
        if meta is not None and not isinstance(meta, Mapping):
            raise UserError(f"trainer.meta={meta}: must be a mapping, as trainer=meta has it, or null")
        learned = None if meta is None else MetaSettings.from_config(meta)
        settings = cls(
            **values, monitor=Monitor(**monitor), checkpoint=Checkpoint(**checkpoint), meta=learned
        )
        settings._check()
        return settings

    def _check(self) -> None:
        for key in ("steps", "global_batch"):
            _at_least(f"trainer.{key}", getattr(self, key), 1)
        if self.micro_batch is not None:
            _at_least("trainer.micro_batch", self.micro_batch, 1)
        _at_least("trainer.monitor.every", self.monitor.every, 0)
        _at_least("trainer.checkpoint.keep", self.checkpoint.keep, 1)
        if not 0 <= self.checkpoint.every < math.inf:
            raise UserError(f"trainer.checkpoint.every={self.checkpoint.every}: must be seconds, 0 or more")
        if not self.sharpness >= 0:
            raise UserError(f"trainer.sharpness={self.sharpness}: must be 0 or more")
        if self.sharpness and (self.sharding == "fsdp" or self.mixed_precision == "fp16"):
            raise UserError(
                f"trainer.sharpness={self.sharpness}: not with sharding=fsdp or mixed_precision=fp16"
            )
        _one_of("trainer.schedule", self.schedule, SCHEDULES)
        _one_of("trainer.mixed_precision", self.mixed_precision, ("no", "bf16", "fp16"))
        _one_of("trainer.trunk", str(self.trunk).lower(), ("auto", "true", "false"))
        if self.sharding.startswith(("deepspeed", "zero")):
            raise UserError(
                f"trainer.sharding={self.sharding}: DeepSpeed is not supported; fsdp slices weights, gradients and "
                "optimiser as ZeRO-3 does"
            )
        _one_of("trainer.sharding", self.sharding, ("none", "fsdp"))
        _one_of("trainer.on_oom", self.on_oom, ("stop", "halve"))
        if self.sharding == "fsdp" and self.mixed_precision == "fp16":
            raise UserError("trainer.mixed_precision=fp16: not with sharding=fsdp; use bf16")
        if self.sharding == "fsdp" and self.monitor.every:
            raise UserError("trainer.sharding=fsdp: no in-training evaluation; set trainer.monitor.every=0")
        _one_of("trainer.prefix_cache", self.prefix_cache, ("none", "memory", "disk"))
        if not self.prefix_cache_gb > 0:
            raise UserError(f"trainer.prefix_cache_gb={self.prefix_cache_gb}: must be a positive number")
        _one_of("trainer.monitor.keep", self.monitor.keep, ("last", "best"))
        lr = self.optimizer.get("lr")
        if not isinstance(lr, int | float) or isinstance(lr, bool) or not 0 < lr < math.inf:
            raise UserError(f"trainer.optimizer.lr={lr}: must be a positive number")
        if isinstance(self.trainable, str):
            raise UserError(f"trainer.trainable={self.trainable}: must be a list, e.g. ['{self.trainable}']")
        watched = self.monitor.every > 0
        if not watched and (self.monitor.keep == "best" or self.monitor.max_retain_damage is not None):
            raise UserError(
                "trainer.monitor.every=0: keep=best and max_retain_damage need in-training evaluation; "
                "set it to a number of steps"
            )


def _known(key: str, values: Mapping[str, Any], cls: type) -> None:
    names = {f.name for f in fields(cls)}
    for name in values:
        if name not in names:
            raise unknown_key(key, name, names)


def _at_least(key: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"{key}={value}: must be a whole number, {least} or more")


def _one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise unknown(key, value, allowed)
