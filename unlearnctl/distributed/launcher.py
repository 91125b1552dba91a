"""The command line that starts the workers of this machine, their environment, and the port they meet at."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence

from unlearnctl.distributed.settings import Launch

WORKER = "unlearnctl.distributed.worker"


def launcher_command(launch: Launch, port: int, worker: Sequence[str]) -> list[str]:
    """torch.distributed.run for CPU ranks, accelerate's launcher for GPUs.

    `accelerate launch --cpu --num_processes 2` would silently run one process. Precision and compilation are not
    taken from the user's accelerate config: `trainer` has them.

    Args:
        launch: what was asked for.
        port: where the ranks meet, on machine 0.
        worker: arguments of the worker module.
    """
    if launch.on_cpu:
        return [
            sys.executable, "-m", "torch.distributed.run",
            "--nnodes", str(launch.num_machines), "--node_rank", str(launch.machine_rank),
            "--nproc_per_node", str(launch.per_machine),
            "--master_addr", launch.main_address, "--master_port", str(port),
            "-m", WORKER, *worker,
        ]  # fmt: skip
    return [
        sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu",
        "--num_machines", str(launch.num_machines), "--machine_rank", str(launch.machine_rank),
        "--num_processes", str(launch.num_processes),
        "--main_process_ip", launch.main_address, "--main_process_port", str(port),
        "--mixed_precision", "no", "--dynamo_backend", "no",
        "-m", WORKER, *worker,
    ]  # fmt: skip


def worker_environment(launch: Launch, environ: Mapping[str, str]) -> dict[str, str]:
    """The parent's, with a fair share of the cores a rank and, for CPU ranks, no GPU in sight.

    Modules of the working directory are out of sight too, for the launcher and for what it starts.
    """
    cores = os.cpu_count() or 1
    ours = {"OMP_NUM_THREADS": str(max(1, cores // launch.per_machine))}
    forced = {"PYTHONSAFEPATH": "1", **({"CUDA_VISIBLE_DEVICES": ""} if launch.on_cpu else {})}
    return {**ours, **environ, **forced}


def free_port() -> int:
    """A TCP port that nobody listens on now. A launcher's own choice (port 0) has been seen to wait forever."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
