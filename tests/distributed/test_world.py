"""Worlds that others made: torchrun's and SLURM's."""

from __future__ import annotations

import pytest

from unlearnctl.distributed.world import World, existing_world, first_host, torch_variables

SLURM = {
    "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_STEP_NUM_TASKS": "8", "SLURM_JOB_ID": "1234",
    "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "gpu[07-08,12]", "SLURM_NTASKS": "8",
}  # fmt: skip


def test_worlds_are_recognised() -> None:
    assert existing_world({}) is None
    assert existing_world({"RANK": "0", "WORLD_SIZE": "1"}) is None
    assert existing_world({"RANK": "3", "WORLD_SIZE": "4"}) == World(3, 4, "torchrun")
    assert existing_world(SLURM) == World(5, 8, "SLURM")
    assert existing_world({"RANK": "0", "WORLD_SIZE": "2", **SLURM}) == World(0, 2, "torchrun")


def test_a_batch_script_is_one_process() -> None:
    """It sees the numbers of the job, but is no task of a step."""
    assert existing_world({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "1"}) is None


def test_what_srun_says_in_the_words_of_torch() -> None:
    assert torch_variables(SLURM) == {
        "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "gpu07", "MASTER_PORT": "38254",
    }  # fmt: skip
    assert torch_variables({**SLURM, "MASTER_PORT": "1"})["MASTER_PORT"] == "1"
    other = torch_variables({**SLURM, "SLURM_STEP_ID": "1"})
    assert other["MASTER_PORT"] != "38254"  # two steps of a job do not meet at one port


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node1", "node1"),
        ("a,b", "a"),
        ("gpu[007-012,15],cpu3", "gpu007"),
        ("n[3,5]", "n3"),
        ("x-y[1]", "x-y1"),
    ],
)
def test_the_first_host_of_a_node_list(nodes: str, first: str) -> None:
    assert first_host(nodes) == first
