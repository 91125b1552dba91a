"""What the machine is doing: processor, memory and GPU of this process, as rows of kind "system"."""

from __future__ import annotations

import os
import sys
import time
from typing import Any


class SystemMeter:
    """Measures on request, at most every `every` seconds; no thread, so none can be left behind.

    Rows: `cpu_percent` (100 is one core) and `memory_gb` of this process, `machine_memory_percent`, and where CUDA is
    in use `gpu_memory_gb`, `gpu_peak_gb`.
    """

    def __init__(self, every: float) -> None:
        import psutil

        self.every, self.last = every, time.monotonic()
        self.process, self.machine = psutil.Process(os.getpid()), psutil.virtual_memory
        self.process.cpu_percent()  # counts from here

    def due(self) -> dict[str, Any] | None:
        """Return a row, if one is due."""
        if time.monotonic() - self.last < self.every:
            return None
        self.last = time.monotonic()
        row = {
            "kind": "system",
            "cpu_percent": self.process.cpu_percent(),
            "memory_gb": self.process.memory_info().rss / 1e9,
            "machine_memory_percent": self.machine().percent,
        }
        return {**row, **_gpu()}


def _gpu() -> dict[str, float]:
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is None or not cuda.is_initialized():
        return {}
    return {"gpu_memory_gb": cuda.memory_allocated() / 1e9, "gpu_peak_gb": cuda.max_memory_allocated() / 1e9}
