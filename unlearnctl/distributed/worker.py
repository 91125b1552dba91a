"""Runs one of several processes: python -m unlearnctl.distributed.worker VERB CONFIG RUN_DIRECTORY COMMAND...

CONFIG is resolved and checked; COMMAND is what the user typed, for the run's records. Workers are started by
`unlearnctl.distributed.start`.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import psutil

from unlearnctl.config.trust import allow, read_trust
from unlearnctl.distributed.failures import note_failure
from unlearnctl.distributed.heartbeat import FOLDER as SIGNS
from unlearnctl.distributed.heartbeat import beat
from unlearnctl.distributed.start import PARENT
from unlearnctl.distributed.world import leave
from unlearnctl.utils.quiet import quiet_environment, quiet_libraries


def main() -> int:
    """Run the verb as this rank; return exit code 0, 2 after an error, or 130 after Ctrl-C."""
    verb, config, directory, *sys.argv = sys.argv[1:]
    allow(read_trust(sys.argv))  # from what the user typed: a config cannot grant itself trust
    rank = int(os.environ["RANK"])
    _dump_stack_on_signal(Path(os.environ[SIGNS]) / f"{rank}.stack")
    beat()
    threading.Thread(target=_die_with_parents, daemon=True).start()
    try:
        # Before anything imports torch or transformers, which read these variables only once.
        quiet_environment()
        quiet_libraries()
        from omegaconf import OmegaConf

        stage = getattr(import_module(f"unlearnctl.commands.{verb}"), verb)
        stage(OmegaConf.load(config), Path(directory))
        leave()
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        note_failure(error, rank)
        traceback.print_exc()
        return 2
    return 0


def _dump_stack_on_signal(file: Path) -> None:
    """Make SIGUSR1 write this process's stack: the parent sends it when no rank gives a sign of life."""
    faulthandler.register(signal.SIGUSR1, file.open("w"), all_threads=False)


def _die_with_parents() -> None:
    """End this process as soon as the launcher or the command is gone, even if they were killed."""
    launcher = os.getppid()
    with suppress(psutil.NoSuchProcess):
        command = psutil.Process(int(os.environ[PARENT]))
        while os.getppid() == launcher and command.is_running() and command.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    code = main()
    if code:
        os._exit(code)  # a rank whose partners are gone could hang in its exit handlers, waiting for them
