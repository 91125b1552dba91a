"""Starts the workers of a run, and stays until the last of them is gone."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import TYPE_CHECKING

from unlearnctl.distributed.failures import FOLDER, failed_rank, killed_rank
from unlearnctl.distributed.heartbeat import FOLDER as SIGNS
from unlearnctl.distributed.launcher import free_port, launcher_command, worker_environment
from unlearnctl.distributed.settings import Launch
from unlearnctl.distributed.supervise import supervise
from unlearnctl.distributed.watchdog import Watch
from unlearnctl.utils.atomic import write_atomically
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.redact import redact

if TYPE_CHECKING:
    from omegaconf import DictConfig

ATTEMPTS = 3  # to find a port: another program may take it between our look and the launcher's
PARENT = "UNLEARNCTL_PARENT"  # pid that workers do not outlive


def start_workers(verb: str, cfg: DictConfig, directory: Path, launch: Launch) -> None:
    """Run a verb on several processes; they read its resolved config and nothing else.

    Args:
        verb: the stage.
        cfg: its config, checked.
        directory: of the run, with config.yaml in it.
        launch: how many processes, and where.

    Raises:
        UserError: a worker failed: the message of the first one that did.
        KeyboardInterrupt: Ctrl-C or another signal, and the workers did not end in good order.
    """
    from omegaconf import OmegaConf

    with TemporaryDirectory(prefix="unlearnctl-") as scratch:
        config = Path(scratch) / "config.yaml"
        OmegaConf.save(cfg, config, resolve=True)
        worker = [verb, str(config), str(directory), *sys.argv]
        _run(launch, worker, Path(scratch), directory)


def _run(launch: Launch, worker: Sequence[str], scratch: Path, directory: Path) -> None:
    log = scratch / "launch.log"  # the launcher is talkative, and its tracebacks say little
    ours = {FOLDER: str(scratch), SIGNS: str(scratch), PARENT: str(os.getpid())}
    environment = worker_environment(launch, os.environ) | ours
    sys.stdout.flush()
    for _ in range(ATTEMPTS):
        port = launch.main_port or free_port()
        watch = _watch(launch, scratch)
        ended = supervise(launcher_command(launch, port, worker), environment, log, watch)
        if ended.code == 0:
            return
        if watch and ended.hung:
            raise UserError(f"{watch.line()}; {_ended(log, directory, launch, worker[0])}")
        if launch.main_port or ended.signal or not _port_was_taken(log):
            break
    ended.reraise()
    raise UserError(_message(scratch, log, directory, launch))


def _watch(launch: Launch, scratch: Path) -> Watch | None:
    if launch.timeout is None:
        return None
    for old in scratch.glob("*.sign"):
        old.unlink()
    return Watch(scratch, launch.timeout, launch.per_machine, (launch.machine_rank, launch.num_machines))


def _ended(log: Path, directory: Path, launch: Launch, verb: str) -> str:
    with log.open("a", encoding="utf-8") as file:
        for stack in sorted(log.parent.glob("*.stack"), key=lambda path: int(path.stem)):
            file.write(f"rank {stack.stem}: {stack.read_text(errors='replace') or 'did not answer'}\n")
    again = f"; unlearnctl train resume={directory} goes on" if verb == "train" else ""
    return f"all processes are ended, and where each was is in {_keep(log, directory, launch.machine_rank)}{again}"


def _message(scratch: Path, log: Path, directory: Path, launch: Launch) -> str:
    text = log.read_text(errors="replace")
    if launch.main_port and _port_was_taken(log):
        return f"launch.main_port={launch.main_port}: taken on this machine; choose another, the same on all"
    killed, failed = killed_rank(text), failed_rank(scratch)
    if failed and failed.known and not killed:
        return failed.line
    line = killed or (failed and failed.line) or f"launch={launch.name}: the processes could not be started"
    return f"{line}; what the processes said is in {_keep(log, directory, launch.machine_rank)}"


def _keep(log: Path, directory: Path, machine: int) -> Path:
    """Without keys into the run's directory, or beside where this machine would have put one."""
    target = (
        directory.with_name(f"{directory.name}.machine{machine}.log") if machine else directory / log.name
    )
    said = redact(log.read_text(errors="replace"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, said)
    except OSError:  # a full disk may be what it is about
        target = Path(mkdtemp(prefix="unlearnctl-log-")) / log.name
        write_atomically(target, said)
    return target


def _port_was_taken(log: Path) -> bool:
    return "EADDRINUSE" in log.read_text(errors="replace")
