"""The command lines that would be started, as their own parsers read them."""

from __future__ import annotations

import socket
import sys

from unlearnctl.distributed.launcher import free_port, launcher_command, worker_environment
from unlearnctl.distributed.settings import Launch

WORKER = ["train", "CONFIG", "DIR", "unlearnctl train", "-m", "seed=0,1"]


def test_cpu_ranks_go_through_torch() -> None:
    from torch.distributed.run import parse_args

    command = launcher_command(Launch("cpu", 4), 1234, WORKER)
    assert command[:3] == [sys.executable, "-m", "torch.distributed.run"]
    read = parse_args(command[3:])
    assert (read.nnodes, read.nproc_per_node, read.master_addr, read.master_port) == (
        "1",
        "4",
        "127.0.0.1",
        1234,
    )
    assert (read.module, read.training_script, read.training_script_args) == (
        True, "unlearnctl.distributed.worker", WORKER,
    )  # fmt: skip


def test_gpus_go_through_accelerate() -> None:
    from accelerate.commands.launch import launch_command_parser

    command = launcher_command(Launch("multi_gpu", 8, on_cpu=False), 1234, WORKER)
    assert command[:3] == [sys.executable, "-m", "accelerate.commands.launch"]
    read = launch_command_parser().parse_args(command[3:])
    assert (read.multi_gpu, read.num_processes, read.num_machines, read.main_process_port) == (
        True,
        8,
        1,
        1234,
    )
    assert (read.module, read.training_script, read.training_script_args) == (
        True, "unlearnctl.distributed.worker", WORKER,
    )  # fmt: skip


def test_several_machines() -> None:
    from accelerate.commands.launch import launch_command_parser
    from torch.distributed.run import parse_args

    launch = Launch("multi_node", 16, num_machines=2, machine_rank=1, main_address="node0", on_cpu=False)
    read = launch_command_parser().parse_args(launcher_command(launch, 29500, WORKER)[3:])
    assert (read.num_processes, read.num_machines, read.machine_rank) == (16, 2, 1)
    assert (read.main_process_ip, read.main_process_port) == ("node0", 29500)
    launch = Launch("multi_node", 6, num_machines=2, machine_rank=1, main_address="node0", on_cpu=True)
    read = parse_args(launcher_command(launch, 29500, WORKER)[3:])
    assert (read.nnodes, read.node_rank, read.nproc_per_node, read.master_addr) == ("2", 1, "3", "node0")


def test_cpu_ranks_share_the_cores_and_see_no_gpu() -> None:
    found = worker_environment(Launch("cpu", 10**6), {"CUDA_VISIBLE_DEVICES": "3", "A": "b"})
    assert found == {"OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1", "CUDA_VISIBLE_DEVICES": "", "A": "b"}
    kept = worker_environment(Launch("cpu", 2), {"OMP_NUM_THREADS": "7"})
    assert kept["OMP_NUM_THREADS"] == "7"
    assert "CUDA_VISIBLE_DEVICES" not in worker_environment(Launch("multi_gpu", 2, on_cpu=False), {})


def test_the_port_is_free() -> None:
    with socket.socket() as taker:
        taker.bind(("127.0.0.1", free_port()))
