"""The embedded default: an invented world, a small model that knows it, and data files in standard formats."""

from __future__ import annotations

from pathlib import Path


def model_dir(name: str = "weights") -> Path:
    """Return a shipped model folder: `weights`, or `twin`, which was built without the facts of the forget corpus."""
    return Path(__file__).parent / name
