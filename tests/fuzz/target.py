"""What a fuzz target is: bytes in, nothing out; a `UserError` is an answer, any other exception a finding."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from unlearnctl.utils.errors import UserError, one_line


@dataclass(frozen=True)
class Target:
    """One reader.

    Args:
        call: reads the bytes; raises `AssertionError` where what it made of them is not safe.
        seeds: valid inputs, from which others are made.
        share: of the driver's executions, relative to other targets; 0 leaves it out.
        limit: seconds that one execution may take.
    """

    name: str
    call: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]
    share: float = 1.0
    limit: float = 5.0

    def __call__(self, data: bytes) -> bool:
        """Run the target; what a user would see as one line is no finding. True if it was such a line."""
        said = ""
        try:
            self.call(data)
        except UserError as error:
            said = str(error)
        assert said == one_line(said), f"not one line: {said!r}"
        return bool(said)


@cache
def scratch(name: str = "") -> Path:
    """A folder of this process's own, in memory where the machine has /dev/shm, removed at its end."""
    if name:
        folder = scratch() / name
        folder.mkdir()
        return folder
    shared = Path("/dev/shm")
    root = Path(tempfile.mkdtemp(prefix="fuzz", dir=shared if shared.is_dir() else None))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root
