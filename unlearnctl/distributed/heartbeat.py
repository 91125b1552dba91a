"""Signs of life of one process of several: what it is at, for whoever has started it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

FOLDER = "UNLEARNCTL_SIGNS"  # environment variable of workers: where each keeps RANK.sign
_last: dict[str, Any] = {"count": 0, "at": "the start", "waits": False}


def sign(at: str | None = None, waits: bool = False) -> None:
    """Say that this process lives, and what it is `at`; `waits` for the others. Costs a small file where it is read."""
    folder = os.environ.get(FOLDER)
    if folder is None:
        return
    _last.update(count=_last["count"] + 1, at=at or _last["at"], waits=waits)
    with suppress(OSError):
        (Path(folder) / f"{os.environ['RANK']}.sign").write_text(json.dumps(_last), encoding="utf-8")


@contextmanager
def waiting() -> Iterator[None]:
    """In this block all processes have to meet: one that is here is not the one that hangs."""
    sign(waits=True)
    try:
        yield
    finally:
        sign()
