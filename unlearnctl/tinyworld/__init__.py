"""The embedded default: an invented world, a small model that knows it, and files in standard formats."""

from __future__ import annotations

from pathlib import Path


def model_dir(name: str = "weights") -> Path:
    """A shipped Hugging Face folder with weights, tokenizer, config, model card: `weights`, or `twin`, the same recipe
    without the facts of the forget corpus."""
    return Path(__file__).parent / name
