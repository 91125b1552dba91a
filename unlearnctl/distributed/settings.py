"""`conf/launch/`: how many processes, and where; checked before anything else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from unlearnctl.distributed.world import existing_world
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.validate import read


@dataclass(frozen=True)
class LaunchSettings:
    """`cfg.launch`."""

    name: Literal["single", "cpu", "multi_gpu", "multi_node"] = "single"
    num_processes: PositiveInt = 1  # of all machines
    dry_run: bool = False
    num_machines: PositiveInt = 1
    machine_rank: NonNegativeInt = 0
    main_address: str = "127.0.0.1"
    main_port: Annotated[int, Ge(1), Le(65535)] | None = None  # None: a free one
    timeout: Annotated[PositiveFloat, "seconds"] | None = 1800.0  # None: wait for ever


@dataclass(frozen=True)
class Launch(LaunchSettings):
    """The settings of a launch, with where its processes run."""

    on_cpu: bool = True  # gloo ranks; else one process a GPU

    @property
    def per_machine(self) -> int:
        """Processes on this machine."""
        return self.num_processes // self.num_machines

    @property
    def starts_workers(self) -> bool:
        """More than one process is asked for, and this is none of them yet."""
        return self.num_processes > 1 and existing_world(os.environ) is None


def read_launch(cfg: Mapping[str, Any], device: str | None) -> Launch:
    """Take `cfg.launch`; `device` is what the verb was told to run on (null, cpu or cuda).

    Raises:
        UserError: see `read`; a device that the option does not go with, too few GPUs, or another number of
            processes than the torchrun or SLURM world that this process belongs to.
    """
    given = {key: value for key, value in cfg.items() if value is not None or key == "timeout"}
    settings = read(LaunchSettings, "launch", given)
    on_cpu = _on_cpu(settings.name, device)
    if settings.name == "multi_gpu" and "num_processes" not in given:
        settings = replace(settings, num_processes=max(1, _gpus()))
    launch = Launch(**vars(settings), on_cpu=on_cpu)
    _check(launch)
    if not launch.dry_run:  # a plan may be made where the GPUs are not
        _check_place(launch)
    return launch


def _on_cpu(name: str, device: str | None) -> bool:
    if name == "cpu" and device == "cuda":
        raise UserError("launch=cpu: not with device=cuda; use launch=multi_gpu")
    if name == "multi_gpu" and device == "cpu":
        raise UserError("launch=multi_gpu: not with device=cpu; use launch=cpu")
    return name == "cpu" or device == "cpu" or (name == "single" and not _gpus())


def _check(launch: Launch) -> None:
    count, machines = launch.num_processes, launch.num_machines
    if launch.name == "single" and count > 1:
        raise UserError(
            f"launch.num_processes={count}: launch=single is one; use launch=cpu or launch=multi_gpu"
        )
    if launch.name != "multi_node" and machines > 1:
        raise UserError(f"launch.num_machines={machines}: launch={launch.name} is one; use launch=multi_node")
    if count % machines:
        near = " or ".join(
            str(n) for n in (count // machines * machines, -(-count // machines) * machines) if n
        )
        raise UserError(
            f"launch.num_processes={count}: not a multiple of {machines} machines; nearest: {near}"
        )
    if launch.machine_rank >= machines:
        raise UserError(f"launch.machine_rank={launch.machine_rank}: must be 0 to {machines - 1}")


def _check_place(launch: Launch) -> None:
    count, world = launch.num_processes, existing_world(os.environ)
    if world and launch.name != "single" and count != world.size:
        raise UserError(
            f"launch.num_processes={count}: this process belongs to a world of {world.size} ({world.starter}); "
            "there, leave launch=single"
        )
    if launch.on_cpu or launch.name == "single":
        return
    if not _gpus():
        raise UserError(f"launch={launch.name}: no CUDA device is visible; launch=cpu needs none")
    if launch.per_machine > _gpus():
        raise UserError(
            f"launch.num_processes={count}: {launch.per_machine} for this machine, which has {_gpus()} GPUs"
        )


def _gpus() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
