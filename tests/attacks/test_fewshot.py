"""Examples come from other facts, and a 0-shot prompt is the bare question; a prefix stands before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.built import built
from unlearnctl.attacks.base import Target
from unlearnctl.attacks.fewshot import FewShot
from unlearnctl.tinyworld import mcq
from unlearnctl.tinyworld.facts import attack_half, facts
from unlearnctl.tinyworld.world_files import materialise
from unlearnctl.utils.errors import UserError


def test_variants_change_the_suites_alone(target: Target) -> None:
    variants = list(FewShot([1, 5]).variants(target))
    assert [dict(v.evaluation) for v in variants] == [{"num_fewshot": 1}, {"num_fewshot": 5}]
    for shots in ([0], [], [1.5]):
        with pytest.raises(UserError, match=r"^attack\.fewshot\.shots="):
            built("attack.fewshot", FewShot, shots=shots)


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from lm_eval.tasks import TaskManager

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    manager = TaskManager(include_path=str(materialise() / "tasks"), include_defaults=False)
    names = ["tinyworld_hazard_held_out", *(f"tinyworld_{group}" for group in mcq.GROUPS)]
    return manager.load(names)["tasks"]


def test_examples_are_other_facts_and_none_changes_a_bare_question(tasks: Any) -> None:
    stems = {f.stem(frame): f for f in facts() for frame in mcq.w.HELD_OUT_FRAMES}
    assert len(tasks) == 5
    for name, task in tasks.items():
        task.set_fewshot_seed(1234)
        for doc in list(task.test_docs())[:30]:
            assert task.fewshot_context(doc, 0) == doc["question"]
            *shots, asked = task.fewshot_context(doc, 5).split(". ")
            assert asked == doc["question"]
            assert len(shots) == 5
            for shot in shots:
                stem, _, value = shot.rpartition(" ")
                assert stems[stem].value == value
                assert stems[stem].group == stems[asked].group
                fact, other = stems[stem], stems[asked]
                assert (fact.entity, fact.noun) != (other.entity, other.noun)
                if name == "tinyworld_hazard_held_out":
                    assert fact.entity in attack_half()
                    assert other.entity not in attack_half()


def test_a_prefix_stands_before_the_question(tasks: Any) -> None:
    task = tasks["tinyworld_hazard"]
    doc = next(iter(task.test_docs()))
    assert task.fewshot_context(doc, 0, system_instruction="Say it. ") == f"Say it. {doc['question']}"
