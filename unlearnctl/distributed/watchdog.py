"""Finds the worker that hangs, from the heartbeat files that each of them writes (`distributed/heartbeat.py`)."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BEGIN = 120.0  # seconds that workers may take to start, even if the time-out is shorter


@dataclass
class Watchdog:
    """The heartbeats of this machine's workers. Its clock is monotonic, so that setting the time changes nothing.

    Only silence of all workers counts: a rank that hangs soon makes the others wait for it, so all fall silent.

    Args:
        folder: where the heartbeat files are.
        seconds: how long all workers may be silent.
        workers: number of workers on this machine.
        machine: this machine's index, and the number of machines.
    """

    folder: Path
    seconds: float
    workers: int
    machine: tuple[int, int] = (0, 1)
    signs: dict[int, dict[str, Any]] = field(default_factory=dict)
    since: float = field(default_factory=time.monotonic)

    def silent(self) -> bool:
        """Return whether no worker has given a sign of life for too long."""
        signs = self._read()
        if signs != self.signs:
            self.signs, self.since = signs, time.monotonic()
        bound = self.seconds if len(signs) == self.workers else max(self.seconds, BEGIN)
        return time.monotonic() - self.since > bound

    def line(self) -> str:
        """Describe which rank hangs, and what it was doing last."""
        first = self.machine[0] * self.workers
        ranks = {rank: self.signs.get(rank) for rank in range(first, first + self.workers)}
        guilty = {rank: last for rank, last in ranks.items() if last is None or not last["waits"]}
        if not guilty and self.machine[1] > 1:
            return f"no sign of life for {self.seconds:g} s (launch.timeout): all ranks here wait for another machine"
        places = ", ".join(
            f"rank {rank} ({'last at ' + last['at'] if last else 'it never started'})"
            for rank, last in (guilty or ranks).items()
        )
        return f"no sign of life for {self.seconds:g} s (launch.timeout) from {places}"

    def _read(self) -> dict[int, dict[str, Any]]:
        found = dict(self.signs)
        for file in self.folder.glob("*.sign"):
            try:
                found[int(file.stem)] = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue  # it is being written; what was read before still holds
        return found
