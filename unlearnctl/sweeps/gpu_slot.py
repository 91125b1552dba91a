"""Give each process of a sweep on one machine its own GPU: `UNLEARNCTL_GPUS=0,1,2,3`, with joblib's workers."""

from __future__ import annotations

import os
import time
from typing import TextIO

from unlearnctl.utils.lock import lock_file
from unlearnctl.utils.paths import cache_dir

NAME = "UNLEARNCTL_GPUS"
_held: list[TextIO] = []  # until the process ends, since CUDA reads its list of devices only once


def take_slot(pause: float = 1.0) -> None:
    """Take a GPU of `$UNLEARNCTL_GPUS` that no other process holds, or wait for one; once per process."""
    slots = [slot.strip() for slot in os.environ.get(NAME, "").split(",") if slot.strip()]
    if not slots or _held:
        return
    folder = cache_dir() / "gpus"
    folder.mkdir(parents=True, exist_ok=True)
    while not any(_take(slot) for slot in slots):
        time.sleep(pause)


def _take(slot: str) -> bool:
    try:
        _held.append(lock_file(cache_dir() / "gpus" / f"{slot}.lock"))
    except BlockingIOError:
        return False
    os.environ["CUDA_VISIBLE_DEVICES"] = slot
    return True
