"""Files that others may have written: reading gives plain data or a ValueError, and no other error."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

SURROGATE = re.compile(r"\\u[dD][89abAB]|\\u[dD][c-fC-F]")  # the escape of half a character
LARGEST = 256 << 20  # bytes of a record
DEEPEST = 100  # levels of a record; Python's own limit is hit far below where a file is large


def loads(text: str) -> Any:
    """JSON data.

    Raises:
        ValueError: not JSON, nested deeper than Python can follow, or with half of a surrogate pair in a text,
            which no file and no terminal would take.
    """
    try:
        found = json.loads(text)
        if SURROGATE.search(text):
            json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair, which is no character") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return found


def read_bytes(path: Path, most: int = LARGEST) -> bytes:
    """A file as a whole, if it is a file and no larger than `most` bytes: no pipe to wait for, no endless device.

    Raises:
        ValueError: it is something else, or larger.
        OSError: it cannot be read.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123  a descriptor
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("is no file")
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"is larger than {most >> 20} MiB")
    return content


def load_record(path: Path) -> Any:
    """A small JSON file whose content is walked through: `loads`, and no deeper than `DEEPEST`.

    Raises:
        ValueError: see `loads` and `read_bytes`.
        OSError: the file cannot be read.
    """
    found = loads(read_bytes(path).decode("utf-8"))
    level = [found]
    for _ in range(DEEPEST):
        level = [child for node in level if isinstance(node, dict | list) for child in _children(node)]
        if not level:
            return found
    raise ValueError("nested too deeply")


def _children(node: dict[str, Any] | list[Any]) -> list[Any]:
    return list(node.values()) if isinstance(node, dict) else node
