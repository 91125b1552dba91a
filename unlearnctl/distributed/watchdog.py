"""Which worker hangs: read from the signs of life that each leaves (`distributed/heartbeat.py`)."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BEGIN = 120.0  # seconds that workers may take to begin, whatever the time-out


@dataclass
class Watch:
    """The signs of this machine's workers; the clock is monotonic, so that setting the time changes nothing.

    Args:
        folder: where they are.
        seconds: of silence of all that are one too many. Those that wait for the others are silent too.
        workers: how many.
        machine: this one's place, and of how many.
    """

    folder: Path
    seconds: float
    workers: int
    machine: tuple[int, int] = (0, 1)
    signs: dict[int, dict[str, Any]] = field(default_factory=dict)
    since: float = field(default_factory=time.monotonic)

    def silent(self) -> bool:
        """Whether no worker has given a sign for too long."""
        signs = self._read()
        if signs != self.signs:
            self.signs, self.since = signs, time.monotonic()
        bound = self.seconds if len(signs) == self.workers else max(self.seconds, BEGIN)
        return time.monotonic() - self.since > bound

    def line(self) -> str:
        """Which rank it is, and where it was last."""
        first = self.machine[0] * self.workers
        ranks = {rank: self.signs.get(rank) for rank in range(first, first + self.workers)}
        guilty = {rank: last for rank, last in ranks.items() if last is None or not last["waits"]}
        if not guilty and self.machine[1] > 1:
            return f"no sign of life for {self.seconds:g} s (launch.timeout): all ranks here wait for another machine's"
        places = ", ".join(
            f"rank {rank} ({'last at ' + last['at'] if last else 'it never began'})"
            for rank, last in (guilty or ranks).items()
        )
        return f"no sign of life for {self.seconds:g} s (launch.timeout) of {places}"

    def _read(self) -> dict[int, dict[str, Any]]:
        found = dict(self.signs)
        for file in self.folder.glob("*.sign"):
            try:
                found[int(file.stem)] = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue  # it is being written
        return found
