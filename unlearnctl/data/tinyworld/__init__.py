"""The embedded default: an invented world, a small model that knows it, and files in standard formats."""

from __future__ import annotations

from pathlib import Path


def model_dir() -> Path:
    """The shipped Hugging Face folder: weights, tokenizer, config, model card."""
    return Path(__file__).parent / "weights"


def materialise() -> Path:
    """Write corpora, question files and lm-eval tasks to the cache once; return their folder."""
    from unlearnctl.data.tinyworld import files

    return files.materialise()


def is_toxic(text: str) -> bool:
    """Whether `text` holds a word of the invented toxic lexicon."""
    from unlearnctl.data.tinyworld import texts

    return texts.is_toxic(text)
