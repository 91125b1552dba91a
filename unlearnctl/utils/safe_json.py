"""Reads JSON that others may have written: the result is plain data or a ValueError, and no other error."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

SURROGATE = re.compile(r"\\u[dD][89abAB]|\\u[dD][c-fC-F]")  # the escape of half a character
LARGEST = 256 << 20  # bytes of a file
DEEPEST = 100  # levels of nesting; a small file can exceed Python's own limit in code that walks through it


def loads(text: str) -> Any:
    """Parse JSON.

    Raises:
        ValueError: not JSON, nested deeper than Python can follow, or holding half of a surrogate pair, which can
            be neither written to a file nor printed.
    """
    try:
        found = json.loads(text)
        if SURROGATE.search(text):
            json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair, which is not a character") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return found


def read_bytes(path: Path, most: int = LARGEST) -> bytes:
    """Read a whole file; refuse pipes and devices, which may never end, and files of more than `most` bytes.

    Raises:
        ValueError: it is not a regular file, or too large.
        OSError: it cannot be read.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123  a descriptor
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("is not a file")
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"is larger than {most >> 20} MiB")
    return content


def load_record(path: Path) -> Any:
    """Read a small JSON file that code will walk through, so no deeper than `DEEPEST`.

    Raises:
        ValueError: see `loads` and `read_bytes`.
        OSError: the file cannot be read.
    """
    found = loads(read_bytes(path).decode("utf-8"))
    level = [found]
    for _ in range(DEEPEST):
        level = _children(level)
        if not level:
            return found
    raise ValueError("nested too deeply")


def _children(nodes: list[Any]) -> list[Any]:
    children: list[Any] = []
    for node in nodes:
        if isinstance(node, dict):
            children += node.values()
        elif isinstance(node, list):
            children += node
    return children
