"""What tells whether a file is the one that was written, and the mode that it should have."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def sha256(file: Path) -> str:
    """Hex digest of a file's bytes."""
    with file.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def follow_umask(file: Path) -> None:
    """Give a file the mode that `open` would have: safetensors makes its files for the owner alone."""
    mask = os.umask(0o077)
    os.umask(mask)
    file.chmod(0o666 & ~mask)
