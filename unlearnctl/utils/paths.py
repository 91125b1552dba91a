"""Where things live: shipped config, cache."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def conf_dir() -> Path:
    """The shipped Hydra config folder: beside the package in a checkout, inside it in a wheel."""
    packaged = PACKAGE / "conf"
    return packaged if packaged.is_dir() else PACKAGE.parent / "conf"


def shown(path: Path) -> Path:
    """As a reader would type it: from the working directory where it lies below that."""
    try:
        return path.absolute().relative_to(Path.cwd())
    except ValueError:
        return path


def cache_dir() -> Path:
    """`$UNLEARNCTL_CACHE`, or `unlearnctl` under `$XDG_CACHE_HOME` (default `~/.cache`). Not created here."""
    if root := os.environ.get("UNLEARNCTL_CACHE"):
        return Path(root)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unlearnctl"
