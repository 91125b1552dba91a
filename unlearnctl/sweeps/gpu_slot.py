"""One GPU for each process of a sweep on one machine: `UNLEARNCTL_GPUS=0,1,2,3`, with joblib's workers."""

from __future__ import annotations

import fcntl
import os
import time
from typing import TextIO

from unlearnctl.utils.atomic import open_ours
from unlearnctl.utils.paths import cache_dir

NAME = "UNLEARNCTL_GPUS"
_held: list[TextIO] = []  # for the life of the process: CUDA does not change its mind either


def take_slot(pause: float = 1.0) -> None:
    """See only one GPU of `$UNLEARNCTL_GPUS`, which no other process has; waits for one. Once per process."""
    slots = [slot.strip() for slot in os.environ.get(NAME, "").split(",") if slot.strip()]
    if not slots or _held:
        return
    folder = cache_dir() / "gpus"
    folder.mkdir(parents=True, exist_ok=True)
    while not any(_take(slot) for slot in slots):
        time.sleep(pause)


def _take(slot: str) -> bool:
    file = open_ours(cache_dir() / "gpus" / f"{slot}.lock", "a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return False
    _held.append(file)
    os.environ["CUDA_VISIBLE_DEVICES"] = slot
    return True
