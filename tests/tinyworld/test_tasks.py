"""The lm-eval tasks load offline through the real TaskManager and ask what the JSONL asks."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unlearnctl.tinyworld import mcq

NAMES = [f"tinyworld_{group}{suffix}" for group in mcq.GROUPS for suffix in ("", "_val")]
NAMES += ["tinyworld_hazard_seen_template", "tinyworld_hazard_held_out"]
NAMES += ["tinyworld_hazard_letters", "tinyworld_benign_letters"]


@pytest.fixture(scope="module")
def manager(world: Path) -> Any:
    from lm_eval.tasks import TaskManager

    started = time.perf_counter()
    manager = TaskManager(include_path=str(world / "tasks"), include_defaults=False)
    assert time.perf_counter() - started < 2
    return manager


def test_every_task_is_found(manager: Any) -> None:
    assert set(NAMES) <= set(manager.all_tasks)


@pytest.mark.usefixtures("_datasets_cache")
@pytest.mark.parametrize("name", ["tinyworld_hazard", "tinyworld_benign_unseen_val"])
def test_completion_tasks(manager: Any, name: str, rows: Callable[[str], list[dict[str, Any]]]) -> None:
    task = _load(manager, name)
    documents, expected = list(task.test_docs()), rows(f"mcq/{name.removeprefix('tinyworld_')}.jsonl")
    assert documents == expected
    first = documents[0]
    assert task.doc_to_text(first) == first["question"]
    assert task.doc_to_choice(first) == first["choices"]
    assert task.doc_to_target(first) == first["answer"]
    assert task.config.target_delimiter == " "


@pytest.mark.usefixtures("_datasets_cache")
def test_letter_task(manager: Any) -> None:
    task = _load(manager, "tinyworld_hazard_letters")
    document = next(iter(task.test_docs()))
    lines = task.doc_to_text(document).split("\n")
    assert lines[1:] == [*(f"{a}. {c}" for a, c in zip("ABCD", document["choices"], strict=True)), "Answer:"]
    assert task.doc_to_choice(document) == ["A", "B", "C", "D"]


def _load(manager: Any, name: str) -> Any:
    loaded = manager.load([name])
    return loaded["tasks"][name]


@pytest.fixture
def _datasets_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
