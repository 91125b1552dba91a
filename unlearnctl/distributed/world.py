"""The processes that compute together: finds them in the environment, joins and leaves them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from unlearnctl.utils.errors import UserError


@dataclass(frozen=True)
class World:
    """This process's place among several."""

    rank: int
    size: int
    starter: str  # torchrun | SLURM

    @property
    def main(self) -> bool:
        """Return whether this is the rank that prints and writes."""
        return self.rank == 0


def existing_world(environ: Mapping[str, str]) -> World | None:
    """Return the world of several processes in which torchrun, accelerate or srun started this one, if any.

    Not `SLURM_NTASKS`, which a batch script sees too, although it is a single process: only srun sets
    `SLURM_STEP_NUM_TASKS`.
    """
    if "RANK" in environ and int(environ.get("WORLD_SIZE", "1")) > 1:
        return World(int(environ["RANK"]), int(environ["WORLD_SIZE"]), "torchrun")
    if "SLURM_PROCID" in environ and int(environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        return World(int(environ["SLURM_PROCID"]), int(environ["SLURM_STEP_NUM_TASKS"]), "SLURM")
    return None


def torch_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Translate srun's environment variables into torch's.

    The port is computed from the job and the step, so that all tasks agree on it without talking.
    """
    job, step = int(environ.get("SLURM_JOB_ID", "0")), int(environ.get("SLURM_STEP_ID", "0"))
    nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST") or "127.0.0.1"
    found = {
        "RANK": environ["SLURM_PROCID"],
        "WORLD_SIZE": environ["SLURM_STEP_NUM_TASKS"],
        "LOCAL_RANK": environ.get("SLURM_LOCALID", "0"),
        "MASTER_ADDR": first_host(nodes),
        "MASTER_PORT": str(20000 + (job * 31 + step) % 20000),
    }
    return {key: environ.get(key, value) for key, value in found.items()}


def first_host(nodes: str) -> str:
    """Return the first host of a SLURM node list: `gpu[007-012,15],cpu3` → `gpu007`."""
    match = re.match(r"([^\[,]+)(?:\[([^\],-]+)[^\]]*\])?", nodes)
    return f"{match[1]}{match[2] or ''}" if match else nodes


def join(on_cpu: bool) -> World | None:
    """Join the world that the environment describes, if any; from then on ranks other than 0 print nothing.

    Raises:
        UserError: torch.distributed is not as large as the environment says.
    """
    world = existing_world(os.environ)
    if world is None:
        return None
    if world.starter == "SLURM":
        os.environ.update(torch_variables(os.environ))
    import torch
    from accelerate import PartialState

    # Without cpu=True on a machine without GPUs, each rank would believe that it is the only one.
    state = PartialState(cpu=on_cpu or not torch.cuda.is_available())
    if state.num_processes != world.size:
        raise UserError(
            f"launch.num_processes={world.size}: torch.distributed has {state.num_processes}; "
            "was it built with gloo or NCCL?"
        )
    if not world.main:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  as long as the process
    return world


def leave() -> None:
    """End the process group, if this process has joined one."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
