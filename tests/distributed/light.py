"""A run of two processes whose stage only waits, fails or dies: the launcher without a model.

python -m tests.distributed.light command DOES DIRECTORY   what the user's command does
python -m tests.distributed.light VERB CONFIG DIRECTORY …  a worker, as unlearnctl.distributed.worker
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import ModuleType
from unittest import mock

from omegaconf import DictConfig, OmegaConf

from unlearnctl.distributed import launcher as command
from unlearnctl.distributed import worker
from unlearnctl.distributed.heartbeat import beat
from unlearnctl.distributed.settings import Launch
from unlearnctl.distributed.start import start_workers
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.stopping import signal_of

RANKS = 2


def light(cfg: DictConfig, directory: Path) -> None:
    """What a rank does: rank 1 as the config says, the others wait for it."""
    rank = int(os.environ["RANK"])
    assert int(os.environ["WORLD_SIZE"]) == RANKS
    stop: list[int] = []
    if cfg.does == "save":
        signal.signal(signal.SIGINT, lambda number, frame: stop.append(number))
    (directory / f"{rank}.pid").write_text(str(os.getpid()))
    if rank == 1 and cfg.does == "mistake":
        raise UserError("objective.layer=99: must be 0 to 7")
    if rank == 1 and cfg.does == "raise":
        raise ValueError("out of luck\nsecond line")
    if rank == 1 and cfg.does == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if cfg.does == "hang":
        beat("step 3", waits=rank != 1)
    for _ in range(600 if cfg.does != "end" else 0):
        if stop:
            (directory / f"{rank}.saved").touch()
            return
        time.sleep(0.1)


def start(does: str, directory: Path, timeout: float | None = None) -> None:
    """Start the ranks as `unlearnctl` would, and wait."""
    directory.mkdir(exist_ok=True)
    with mock.patch.object(command, "WORKER", "tests.distributed.light"):
        start_workers(
            "light", OmegaConf.create({"does": does}), directory, Launch("cpu", RANKS, timeout=timeout)
        )


if __name__ == "__main__":
    if sys.argv[1] == "command":
        try:
            start(sys.argv[2], Path(sys.argv[3]))
        except KeyboardInterrupt as stopped:
            sys.exit(128 + signal_of(stopped))
    else:
        stage = ModuleType("unlearnctl.commands.light")
        stage.light = light  # type: ignore[attr-defined]
        sys.modules["unlearnctl.commands.light"] = stage
        worker.quiet_libraries = lambda: None  # seconds of imports that this stage has no use for
        if code := worker.main():
            os._exit(code)
