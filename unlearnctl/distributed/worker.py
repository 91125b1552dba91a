"""One process of several: python -m unlearnctl.distributed.worker VERB CONFIG RUN_DIRECTORY COMMAND...

CONFIG is resolved and checked; COMMAND is what was typed, for the record. Started by `unlearnctl.distributed.start`.
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
from unlearnctl.distributed.heartbeat import sign
from unlearnctl.distributed.start import PARENT
from unlearnctl.distributed.world import leave
from unlearnctl.utils.quiet import quiet_environment, quiet_libraries


def main() -> int:
    """Run the stage as this rank; exit code 0, 2 after an error, 130 after Ctrl-C."""
    verb, config, directory, *sys.argv = sys.argv[1:]
    allow(read_trust(sys.argv))
    rank = int(os.environ["RANK"])
    _tell_where(Path(os.environ[SIGNS]) / f"{rank}.stack")
    sign()
    threading.Thread(target=_die_with_parents, daemon=True).start()
    try:
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


def _tell_where(file: Path) -> None:
    """Have SIGUSR1 write where this process is: the command asks when nobody gives a sign of life."""
    faulthandler.register(signal.SIGUSR1, file.open("w"), all_threads=False)


def _die_with_parents() -> None:
    """End this process as soon as the launcher or the command is gone, however they ended."""
    launcher = os.getppid()
    with suppress(psutil.NoSuchProcess):
        command = psutil.Process(int(os.environ[PARENT]))
        while os.getppid() == launcher and command.is_running() and command.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    code = main()
    if code:
        os._exit(code)  # a rank whose partners are gone could wait for them in its exit handlers
