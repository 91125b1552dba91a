"""Published questions are read whole, under the names and in the layout that their authors gave them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from benchmarks import real_evaluation
from unlearnctl.evaluation.suites.lm_eval import LMEvalSuite
from unlearnctl.evaluation.suites.mc import MultipleChoiceSuite
from unlearnctl.models.load import load_model
from unlearnctl.models.spec import ModelSpec

pytestmark = pytest.mark.real


def test_arc_by_domain(data: Path) -> None:
    files = {"biology": "arc_bio_test.jsonl", "physics": "arc_phys_test.jsonl"}
    suite = MultipleChoiceSuite({name: str(data / "arc" / file) for name, file in files.items()})
    suite.validate()
    assert {name: len(found) for name, found in suite._asked.items()} == {"biology": 662, "physics": 1157}
    first = suite._asked["biology"][0]
    assert first.choices[first.answer] == "Fish will die from a lack of oxygen."


@pytest.mark.parametrize("shots", [0, 5])
def test_all_subjects_of_mmlu(data: Path, shots: int) -> None:
    suite = LMEvalSuite(
        {"mmlu": "mmlu"}, "lm_eval:mmlu/default", "retain", shots, path=str(data / "mmlu"), limit=3
    )
    suite.validate()
    tasks = suite.harness.load()["tasks"]
    assert (len(tasks), sum(len(task.eval_docs) for task in tasks.values())) == (57, 14042)
    anatomy = tasks["mmlu_anatomy"]
    prompt = anatomy.fewshot_context(anatomy.eval_docs[0], shots)
    assert prompt.count("\nAnswer:") == shots + 1
    assert "A lesion causing compression of the facial nerve at the stylomastoid foramen" in prompt


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")
def test_a_real_models_answers_are_those_of_lm_evals_own_class(
    data: Path, smollm2: Path, tmp_path: Path
) -> None:
    spec = ModelSpec.from_config({"name": "smollm2", "path": str(smollm2), "dtype": "float32"})
    model, tokenizer = load_model(spec), spec.tokenizer()
    letters = partial(real_evaluation.mmlu, model, tokenizer, data, ["mmlu_high_school_biology"])
    texts = real_evaluation.arc(model, tokenizer, data, tmp_path, 16)
    for kind in (texts, letters(shots=0, limit=12), letters(shots=5, limit=6)):
        theirs, ours = kind.theirs(2), kind.ours()
        assert ours.outcomes == theirs.outcomes
        assert ours.subjects == theirs.subjects
        assert ours.likelihoods == pytest.approx(theirs.likelihoods, abs=5e-4)
