"""In-training evaluation asks the untouched model what other runs have not asked it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.command import QUICK, succeed
from unlearnctl.unlearning import parts


def rows(run_dir: str) -> list[dict[str, Any]]:
    lines = (Path(run_dir) / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == "eval"]


def test_scores_of_the_untouched_model_are_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNLEARNCTL_CACHE", str(tmp_path / "cache"))
    asked: list[str] = []
    plain = parts.evaluate

    def counted(*args: Any, **kwargs: Any) -> Any:
        asked.append("evaluated")
        return plain(*args, **kwargs)

    monkeypatch.setattr(parts, "evaluate", counted)
    watched = (*QUICK, "eval=[smoke]", "trainer.monitor.every=2", "trainer.steps=2")
    first, second = succeed("train", *watched, "run=a"), succeed("train", *watched, "run=b")
    # Each run is scored after its second step. The untouched model was scored by the first run, before it trained,
    # because `eval` and in-training evaluation ask the same here.
    assert asked == ["evaluated"] * 2
    assert rows(first.run_dir) == rows(second.run_dir)
    assert [row["step"] for row in rows(second.run_dir)] == [0, 2]
