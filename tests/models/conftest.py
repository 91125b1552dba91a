"""Local Hugging Face folders of the tiny models."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from tests.models.tiny import tiny_model
from tests.models.words import word_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return word_tokenizer()


@pytest.fixture
def folder(architecture: str, tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A local folder of the architecture under test, in several shards."""
    path = tmp_path / f"tiny-{architecture}"
    tiny_model(architecture).save_pretrained(path, max_shard_size="40KB")
    tokenizer.save_pretrained(path)
    return path
