"""One copy of the world's files for the whole session, away from the user's cache."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unlearnctl.tinyworld.world_files import materialise


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNLEARNCTL_CACHE", str(tmp_path_factory.mktemp("cache")))
        return materialise()


@pytest.fixture(scope="session")
def rows(world: Path) -> Callable[[str], list[dict[str, Any]]]:
    def read(name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (world / name).read_text().splitlines()]

    return read
