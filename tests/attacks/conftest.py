"""A tiny model and a few texts for attacks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.models.tiny import tiny_config, tiny_model
from tests.models.words import word_tokenizer
from unlearnctl.attacks.base import Target
from unlearnctl.models.skeleton import skeleton

BLOCKS = 6


@pytest.fixture
def target() -> Target:
    """Llama of 6 blocks, the base not known."""
    return make_target("llama")


def make_target(architecture: str) -> Target:
    model = tiny_model(architecture).requires_grad_(False)
    return Target(model, word_tokenizer(), skeleton(tiny_config(architecture), None, False).blocks)


@pytest.fixture
def questions(tmp_path: Path) -> str:
    """JSONL: `stem` of two words, `answer` one of three, `others` the two that it is not, `text` all of it."""
    rows = []
    for i in range(24):
        stem, answer = f"w{i} w{(5 * i) % 24}", f"w{40 + i % 3}"
        others = [f"w{40 + j}" for j in range(3) if j != i % 3]
        rows.append(
            {"stem": stem, "answer": answer, "others": others, "text": f"{stem} {answer}", "kind": i % 2}
        )
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(file)


def weights(target: Target) -> dict:
    return {name: p.detach().clone() for name, p in target.model.named_parameters()}
