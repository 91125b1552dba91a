"""What `launch` refuses, in one line, before anything starts."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

from tests.command import run
from unlearnctl.distributed import settings
from unlearnctl.distributed.settings import read_launch
from unlearnctl.utils.errors import UserError

NODE = {"name": "multi_node", "num_machines": 2, "main_address": "a", "main_port": 29500}


@pytest.mark.parametrize(
    ("cfg", "device", "message"),
    [
        ({"name": "cpu", "num_processes": 0}, None, "launch.num_processes=0: must be a whole number, 1 or more"),
        ({"name": "cpu", "num_processes": 1.5}, None, "launch.num_processes=1.5: must be a whole number"),
        ({"name": "cpu", "processes": 2}, None, "launch.processes: unknown key"),
        ({"name": "cpus"}, None, "launch.name=cpus: unknown (did you mean 'cpu'?)"),
        ({"name": "single", "num_processes": 4}, None, "launch.num_processes=4: launch=single runs one process"),
        ({"name": "cpu", "num_processes": 2}, "cuda", "launch=cpu: conflicts with device=cuda"),
        ({"name": "multi_gpu", "num_processes": 2}, "cpu", "launch=multi_gpu: conflicts with device=cpu"),
        ({"name": "multi_gpu", "num_processes": 8}, None, "launch.num_processes=8: 8 of them on this machine, "),
        (NODE | {"num_processes": 3}, None, "launch.num_processes=3: not a multiple of 2 machines; nearest: 2 or 4"),
        (NODE | {"num_processes": 1}, None, "launch.num_processes=1: not a multiple of 2 machines; nearest: 2"),
        (NODE | {"num_processes": 16}, None, "launch.num_processes=16: 8 of them on this machine, which has 4 GPUs"),
        (NODE | {"num_processes": 8, "machine_rank": 2}, None, "launch.machine_rank=2: must be 0 to 1"),
        (NODE | {"num_processes": 8, "main_port": 70000}, None, "launch.main_port=70000: must be a whole number"),
        ({"name": "cpu", "num_processes": 4, "num_machines": 2}, None, "launch.num_machines=2: launch=cpu runs on one"),
    ],
)  # fmt: skip
def test_wrong_values_are_one_line(cfg: dict[str, Any], device: str | None, message: str) -> None:
    with mock.patch.object(settings, "_gpus", return_value=4), pytest.raises(UserError) as caught:
        read_launch(cfg, device)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_no_gpu() -> None:
    with mock.patch.object(settings, "_gpus", return_value=0):
        with pytest.raises(
            UserError, match=r"^launch=multi_gpu: no CUDA device is visible; launch=cpu needs none$"
        ):
            read_launch({"name": "multi_gpu", "num_processes": 2}, None)
        planned = read_launch({"name": "multi_gpu", "num_processes": 8, "dry_run": True}, None)
    assert planned.num_processes == 8  # a plan may be made where the GPUs are not


def test_all_gpus_unless_told_otherwise() -> None:
    with mock.patch.object(settings, "_gpus", return_value=4):
        assert read_launch({"name": "multi_gpu", "num_processes": None}, None).num_processes == 4
        launch = read_launch(NODE | {"num_processes": 8}, None)
    assert (launch.per_machine, launch.on_cpu, launch.starts_workers) == (4, False, True)


def test_one_process_starts_nothing() -> None:
    assert not read_launch({"name": "single", "num_processes": 1}, "cpu").starts_workers
    assert not read_launch({"name": "cpu", "num_processes": 1}, None).starts_workers


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["attack", "launch=cpu", "run_dir=x"], "launch=cpu: unlearnctl attack runs in one process"),
        (["train", "launch.num_processes=3"], "launch.num_processes=3: launch=single runs one process"),
        (["train", "launch=multi_node"], "launch.num_processes=???: required"),
        (["train", "launch=cpu", "launch.num_processes=3", "trainer.global_batch=8"],
         "trainer.global_batch=8: not a multiple of micro_batch 1 × 3 processes; nearest: 6 or 9"),
        (["train", "-m", "launch=cpu", "seed=0,1", "hydra/launcher=side_by_side"],
         "launch=cpu: runs side by side share one process; use launch=single"),
    ],
)  # fmt: skip
def test_the_command_line_refuses_before_anything_starts(args: list[str], message: str) -> None:
    done = run(*args)
    assert (done.code, done.err.startswith(f"error: {message}")) == (2, True), done.err


def test_other_verbs_refuse_a_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = run("repair", "run_dir=x")
    assert (
        done.err == "error: rank 1: unlearnctl repair: runs in one process, and this is one of 2 (torchrun)\n"
    )


def test_a_world_that_exists_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not read_launch({"name": "cpu", "num_processes": 2}, None).starts_workers
    with pytest.raises(
        UserError, match=r"^launch\.num_processes=3: this process belongs to a world of 2 \(torchrun\)"
    ):
        read_launch({"name": "cpu", "num_processes": 3}, None)
    assert read_launch({"name": "single", "num_processes": 1}, None).num_processes == 1
