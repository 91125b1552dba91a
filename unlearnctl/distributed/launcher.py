"""The launcher's command line, the workers' environment, and the port at which they meet."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence

from unlearnctl.distributed.settings import Launch

WORKER = "unlearnctl.distributed.worker"


def launcher_command(launch: Launch, port: int, worker: Sequence[str]) -> list[str]:
    """Return the command for this machine's workers: torch.distributed.run for CPU ranks, accelerate's for GPUs.

    Not accelerate's for both: `accelerate launch --cpu --num_processes 2` silently runs one process. Precision and
    compilation are switched off explicitly, or the user's accelerate config would override `trainer`.

    Args:
        launch: the launch settings.
        port: port on machine 0 at which the ranks meet.
        worker: arguments of the worker module.
    """
    options: dict[str, str | int]
    if launch.on_cpu:
        program = ["torch.distributed.run"]
        options = {
            "--nnodes": launch.num_machines,
            "--node_rank": launch.machine_rank,
            "--nproc_per_node": launch.per_machine,
            "--master_addr": launch.main_address,
            "--master_port": port,
        }
    else:
        program = ["accelerate.commands.launch", "--multi_gpu"]
        options = {
            "--num_machines": launch.num_machines,
            "--machine_rank": launch.machine_rank,
            "--num_processes": launch.num_processes,
            "--main_process_ip": launch.main_address,
            "--main_process_port": port,
            "--mixed_precision": "no",
            "--dynamo_backend": "no",
        }
    command = [sys.executable, "-m", *program]
    for name, value in options.items():
        command += [name, str(value)]
    return [*command, "-m", WORKER, *worker]


def worker_environment(launch: Launch, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the parent's environment, with a fair share of the cores for each rank and no GPU visible to CPU ranks.

    PYTHONSAFEPATH keeps modules of the working directory from being imported by the launcher and its workers.
    """
    cores = os.cpu_count() or 1
    ours = {"OMP_NUM_THREADS": str(max(1, cores // launch.per_machine))}
    forced = {"PYTHONSAFEPATH": "1", **({"CUDA_VISIBLE_DEVICES": ""} if launch.on_cpu else {})}
    return {**ours, **environ, **forced}


def free_port() -> int:
    """Return a TCP port that is free now. Port 0, the launcher's own choice, has been seen to hang."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
