"""Where things are: the shipped config, the cache."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def conf_dir() -> Path:
    """Return the shipped Hydra config folder: beside the package in a checkout, inside it in a wheel."""
    packaged = PACKAGE / "conf"
    return packaged if packaged.is_dir() else PACKAGE.parent / "conf"


def shown(path: Path) -> Path:
    """Return a path as a user would type it: relative, if it lies below the working directory."""
    try:
        return path.absolute().relative_to(Path.cwd())
    except ValueError:
        return path


def cache_dir() -> Path:
    """Return `$UNLEARNCTL_CACHE`, or `unlearnctl` under `$XDG_CACHE_HOME` (`~/.cache` by default); it may not exist."""
    if root := os.environ.get("UNLEARNCTL_CACHE"):
        return Path(root)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unlearnctl"
