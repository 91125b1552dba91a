"""Reads `conf/launch/`: how many processes, and where. Checked first, since nothing can run without them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
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
    num_processes: PositiveInt = 1  # on all machines together
    dry_run: bool = False
    num_machines: PositiveInt = 1
    machine_rank: NonNegativeInt = 0
    main_address: str = "127.0.0.1"
    main_port: Annotated[int, Ge(1), Le(65535)] | None = None  # None: a free port
    timeout: Annotated[PositiveFloat, "seconds"] | None = 1800.0  # None: wait forever


@dataclass(frozen=True)
class Launch(LaunchSettings):
    """The settings of a launch, with where its processes run."""

    on_cpu: bool = True  # gloo ranks; otherwise one process per GPU

    @property
    def per_machine(self) -> int:
        """Return the number of processes on this machine."""
        return self.num_processes // self.num_machines

    @property
    def starts_workers(self) -> bool:
        """Return whether several processes are requested and this one is not yet one of them."""
        return self.num_processes > 1 and existing_world(os.environ) is None


def read_launch(cfg: Mapping[str, Any], device: str | None) -> Launch:
    """Read `cfg.launch`; `device` is the device that the verb's config names (null, cpu or cuda).

    Raises:
        UserError: see `read`; or the device does not fit the launch, there are too few GPUs, or torchrun or SLURM has
            started another number of processes.
    """
    given = {key: value for key, value in cfg.items() if value is not None or key == "timeout"}
    settings = read(LaunchSettings, "launch", given)
    on_cpu = _on_cpu(settings.name, device)
    if settings.name == "multi_gpu" and "num_processes" not in given:
        settings = replace(settings, num_processes=max(1, _gpus()))
    launch = Launch(**asdict(settings), on_cpu=on_cpu)
    _check(launch)
    if not launch.dry_run:  # a dry run may plan for a machine with GPUs on one without
        _check_place(launch)
    return launch


def _on_cpu(name: str, device: str | None) -> bool:
    if name == "cpu" and device == "cuda":
        raise UserError("launch=cpu: conflicts with device=cuda; use launch=multi_gpu")
    if name == "multi_gpu" and device == "cpu":
        raise UserError("launch=multi_gpu: conflicts with device=cpu; use launch=cpu")
    return name == "cpu" or device == "cpu" or (name == "single" and not _gpus())


def _check(launch: Launch) -> None:
    count, machines = launch.num_processes, launch.num_machines
    if launch.name == "single" and count > 1:
        raise UserError(
            f"launch.num_processes={count}: launch=single runs one process; use launch=cpu or launch=multi_gpu"
        )
    if launch.name != "multi_node" and machines > 1:
        raise UserError(
            f"launch.num_machines={machines}: launch={launch.name} runs on one machine; use launch=multi_node"
        )
    if count % machines:
        below = count // machines * machines
        above = below + machines
        near = f"{below} or {above}" if below else f"{above}"
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
            "leave launch=single there"
        )
    if launch.on_cpu or launch.name == "single":
        return
    if not _gpus():
        raise UserError(f"launch={launch.name}: no CUDA device is visible; launch=cpu needs none")
    if launch.per_machine > _gpus():
        raise UserError(
            f"launch.num_processes={count}: {launch.per_machine} of them on this machine, which has {_gpus()} GPUs"
        )


def _gpus() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
