"""Starts the workers of a run, waits for them, and turns whatever goes wrong into one line."""

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
from unlearnctl.distributed.watchdog import Watchdog
from unlearnctl.utils.atomic import write_atomically
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.redact import redact

if TYPE_CHECKING:
    from omegaconf import DictConfig

ATTEMPTS = 3  # to find a port: another program may take it before the launcher does
PARENT = "UNLEARNCTL_PARENT"  # environment variable of workers: pid of the command, which they do not outlive


def start_workers(verb: str, cfg: DictConfig, directory: Path, launch: Launch) -> None:
    """Run a verb on several processes, which read its resolved config and nothing else.

    Args:
        verb: the verb to run.
        cfg: its config, checked.
        directory: the run's directory, which holds config.yaml.
        launch: how many processes, and where.

    Raises:
        UserError: a worker failed; the message is that of the first one that did.
        KeyboardInterrupt: Ctrl-C or another signal, and the workers did not stop cleanly.
    """
    from omegaconf import OmegaConf

    with TemporaryDirectory(prefix="unlearnctl-") as scratch:
        config = Path(scratch) / "config.yaml"
        OmegaConf.save(cfg, config, resolve=True)
        worker = [verb, str(config), str(directory), *sys.argv]
        _run(launch, worker, Path(scratch), directory)


def _run(launch: Launch, worker: Sequence[str], scratch: Path, directory: Path) -> None:
    log = scratch / "launch.log"  # kept from the terminal: a traceback for each rank, and few of them say why
    ours = {FOLDER: str(scratch), SIGNS: str(scratch), PARENT: str(os.getpid())}
    environment = worker_environment(launch, os.environ) | ours
    sys.stdout.flush()  # the workers write to the same place, and what is buffered here was printed before
    for _ in range(ATTEMPTS):
        port = launch.main_port or free_port()
        watchdog = _watchdog(launch, scratch)
        ended = supervise(launcher_command(launch, port, worker), environment, log, watchdog)
        if ended.code == 0:
            return
        if watchdog and ended.hung:
            raise UserError(f"{watchdog.line()}; {_keep_stacks(log, directory, launch, worker[0])}")
        if launch.main_port or ended.signal or not _port_was_taken(log):
            break
    ended.reraise()
    raise UserError(_message(scratch, log, directory, launch))


def _watchdog(launch: Launch, scratch: Path) -> Watchdog | None:
    if launch.timeout is None:
        return None
    for old in scratch.glob("*.sign"):
        old.unlink()
    return Watchdog(scratch, launch.timeout, launch.per_machine, (launch.machine_rank, launch.num_machines))


def _keep_stacks(log: Path, directory: Path, launch: Launch, verb: str) -> str:
    """Add the workers' stack traces to the log; return the rest of the message."""
    with log.open("a", encoding="utf-8") as file:
        for stack in sorted(log.parent.glob("*.stack"), key=lambda path: int(path.stem)):
            file.write(f"rank {stack.stem}: {stack.read_text(errors='replace') or 'did not answer'}\n")
    kept = _keep(log, directory, launch.machine_rank)
    again = f"; to resume: unlearnctl train resume={directory}" if verb == "train" else ""
    return f"all processes were stopped, and their stack traces are in {kept}{again}"


def _message(scratch: Path, log: Path, directory: Path, launch: Launch) -> str:
    text = log.read_text(errors="replace")
    if launch.main_port and _port_was_taken(log):
        return f"launch.main_port={launch.main_port}: already in use on this machine; choose another, the same on all"
    killed, failed = killed_rank(text), failed_rank(scratch)
    if failed and failed.known and not killed:
        return failed.line
    line = killed or (failed and failed.line) or f"launch={launch.name}: the processes could not be started"
    return f"{line}; the processes' output is in {_keep(log, directory, launch.machine_rank)}"


def _keep(log: Path, directory: Path, machine: int) -> Path:
    """Copy the log, with secrets redacted, into the run's directory; return where it is.

    Machines other than the first have no run directory, so their logs go beside its place.
    """
    target = (
        directory.with_name(f"{directory.name}.machine{machine}.log") if machine else directory / log.name
    )
    text = redact(log.read_text(errors="replace"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, text)
    except OSError:  # a full disk may be the very failure that is logged
        target = Path(mkdtemp(prefix="unlearnctl-log-")) / log.name
        write_atomically(target, text)
    return target


def _port_was_taken(log: Path) -> bool:
    return "EADDRINUSE" in log.read_text(errors="replace")
