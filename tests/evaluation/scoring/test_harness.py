"""Our scoring behind the harness's interface gives the harness's own numbers."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from tests.built import built
from tests.models.tiny import tiny_model
from tests.models.words import word_tokenizer
from unlearnctl.evaluation.scoring import harness
from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.evaluation.scoring.harness import HarnessModel, agrees
from unlearnctl.evaluation.suites.lm_eval import LMEvalSuite
from unlearnctl.utils.errors import UserError

LETTERS = "{{question}} w1 {{choices[0]}} w2 {{choices[1]}} w3 {{choices[2]}} w4 {{choices[3]}} w5"
TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{folder}/test.jsonl", dev: "{folder}/dev.jsonl"}}}}
test_split: test
fewshot_split: dev
fewshot_config: {{sampler: first_n}}
output_type: multiple_choice
doc_to_text: "{prompt}"
doc_to_choice: {choices}
doc_to_target: answer
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""


def words(rng: random.Random, least: int, most: int) -> str:
    return " ".join(f"w{rng.randrange(6, 90)}" for _ in range(rng.randint(least, most)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions in the format of mmlu and wmdp: by letter, and by the choices' own words."""
    root, rng = tmp_path_factory.mktemp("tasks"), random.Random(0)
    for split, count in (("test", 30), ("dev", 5)):
        rows = [
            {
                "question": words(rng, 2, 9),
                "choices": [words(rng, 1, 6) for _ in range(4)],
                "answer": rng.randrange(4),
            }
            for _ in range(count)
        ]
        (root / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, prompt, choices in (
        ("letters", LETTERS, '["w1", "w2", "w3", "w4"]'),
        ("texts", "{{question}} w5", '"{{choices}}"'),
    ):
        (root / f"{name}.yaml").write_text(
            TASK.format(name=name, folder=root, prompt=prompt, choices=choices)
        )
    return root


def theirs(folder: Path, task: str, shots: int, model: Any) -> dict[str, Any]:
    """The harness's class and entry point."""
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    found = simple_evaluate(
        model=HFLM(model, tokenizer=word_tokenizer(), batch_size=4), tasks=[task], task_manager=manager,
        num_fewshot=shots, bootstrap_iters=0, log_samples=True,
    )  # fmt: skip
    assert found is not None
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shots", [5, pytest.param(0, marks=pytest.mark.full)])
@pytest.mark.parametrize("task", ["letters", "texts"])
def test_parity_with_the_harness(folder: Path, task: str, shots: int, architecture: str) -> None:
    """Identical accuracy on every question, log-likelihoods to 1e-4, for any batch size."""
    model = tiny_model(architecture)
    expected = theirs(folder, task, shots, model)
    likelihoods = [x[0] for s in expected["samples"][task] for x in s["filtered_resps"]]
    for tokens in (64, 2048):
        suite = LMEvalSuite({"acc": task}, str(folder), "forget", shots, batch_tokens=tokens)
        results = suite._evaluate(model, word_tokenizer(), Answers())
        samples = results["samples"][task]
        assert [s["acc"] for s in samples] == [s["acc"] for s in expected["samples"][task]]
        ours = [x[0] for s in samples for x in s["filtered_resps"]]
        assert ours == pytest.approx(likelihoods, abs=1e-4)
        metric = suite._metric(results, task, "acc,none")
        assert metric.value == pytest.approx(expected["results"][task]["acc,none"], abs=1e-12)
        assert metric.items == tuple(s["acc"] for s in expected["samples"][task])


@pytest.mark.filterwarnings("ignore")
def test_other_scores_of_a_task_and_a_name_that_it_lacks(folder: Path) -> None:
    model = tiny_model("llama")
    expected = theirs(folder, "texts", 0, model)["results"]["texts"]["acc_norm,none"]
    suite = LMEvalSuite({"x": "texts"}, str(folder), "forget", 0, metric="acc_norm")
    assert suite.run(model, word_tokenizer(), Answers())["x"].value == pytest.approx(expected)
    with pytest.raises(UserError, match=r"eval\.metric=acc_nrm: unknown \(did you mean 'acc_norm'\?\)"):
        LMEvalSuite({"x": "texts"}, str(folder), "forget", 0, metric="acc_nrm").run(
            model, word_tokenizer(), Answers()
        )


def both(
    model: Any, pairs: list[tuple[str, str]], method: str = "loglikelihood", **kwargs: Any
) -> tuple[Any, Any]:
    """The same requests to the harness's class and to ours."""
    requests = [Instance("loglikelihood", {}, pair, i, metadata=("t", i, 1)) for i, pair in enumerate(pairs)]
    tokenizer = word_tokenizer()
    first = getattr(HFLM(model, tokenizer=tokenizer, batch_size=3, **kwargs), method)(
        requests, disable_tqdm=True
    )
    mine = HarnessModel(model, tokenizer, 64)
    mine._max_length = kwargs.get("max_length")
    return first, getattr(mine, method)(requests, disable_tqdm=True)


def test_odd_requests_give_what_the_harness_gives(architecture: str) -> None:
    """Empty contexts, contexts ending in a space, what starts with bos, what does not fit the window, repetitions."""
    rng = random.Random(1)
    long = words(rng, 60, 60)
    pairs = [
        ("", "w1 w2 w3"), ("w5 ", "w6"), ("<bos> w3", " w4"), (long, " w7 w8"), (long, " w9"), ("w1", " " + long[:90]),
        ("w5", " w6"), ("w5", " w6"), ("w5", " w6 w7"), ("w2 w3", " w6 w7"),
    ]  # fmt: skip
    first, second = both(tiny_model(architecture), pairs, max_length=40)
    assert [a[0] for a in first] == pytest.approx([b[0] for b in second], abs=1e-4)
    assert [a[1] for a in first] == [b[1] for b in second]


def test_rolling_likelihoods_and_generation(architecture: str) -> None:
    model, rng = tiny_model(architecture), random.Random(2)
    texts = [(words(rng, 3, 50),) for _ in range(6)]
    first, second = both(model, texts, "loglikelihood_rolling", max_length=16)  # type: ignore[arg-type]
    assert first == pytest.approx(second, abs=1e-4)
    asked = [(words(rng, 2, 9), {"until": ["w7"], "max_gen_toks": 6, "do_sample": False}) for _ in range(9)]
    first, second = both(model, asked, "generate_until")  # type: ignore[arg-type]
    assert first == second


def test_a_greedy_continuation_is_recognised() -> None:
    model, tokenizer = tiny_model("llama"), word_tokenizer()
    ids = tokenizer("w1 w2", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        grown = model.generate(ids, max_new_tokens=3, do_sample=False, pad_token_id=0)
    text = " " + tokenizer.decode(grown[0, ids.shape[1] :])
    other = " w3" if not text.startswith(" w3") else " w4"
    first, second = both(model, [("w1 w2", text), ("w1 w2", other)])
    assert [a[1] for a in first] == [b[1] for b in second] == [True, False]


def test_every_shipped_kind_of_decoder_takes_our_passes(architecture: str) -> None:
    assert agrees(tiny_model(architecture))
    assert agrees(tiny_model(architecture).to(torch.bfloat16))


def test_a_model_that_does_not_is_scored_as_the_harness_would(monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose forward forgets the mask: found out, and scored plainly."""
    model = tiny_model("llama")
    own = model.base_model.forward
    monkeypatch.setattr(model.base_model, "forward", lambda *a, **k: own(*a, **{**k, "position_ids": None}))
    assert not agrees(model)
    harness.AGREE.clear()
    first, second = both(model, [("w1 w2", " w3 w4"), ("w1 w2", " w5"), ("w4", " w5 w6")])
    assert [a[0] for a in first] == pytest.approx([b[0] for b in second], abs=1e-5)


def test_memory_that_runs_out_halves_the_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    from unlearnctl.evaluation.scoring import likelihood

    own, sizes = likelihood.score_rows, []

    def tight(model: Any, rows: Any, prefix: Any) -> Any:
        sizes.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return own(model, rows, prefix)

    monkeypatch.setattr(likelihood, "score_rows", tight)
    model, pairs = tiny_model("llama"), [(f"w{i} w{i + 1}", " w3 w4") for i in range(7)]
    first, second = both(model, pairs)
    assert [a[0] for a in first] == pytest.approx([b[0] for b in second], abs=1e-5)
    assert max(sizes) > 2


def test_a_model_that_gives_nan_is_an_error_and_keeps_what_came_before(tmp_path: Path) -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.lm_head.weight[7].fill_(float("nan"))
    with pytest.raises(UserError, match=r"eval\.x: the model gives NaN after .*w1.*; its weights are broken"):
        HarnessModel(model, word_tokenizer(), 64, Answers(tmp_path), "eval.x").loglikelihood(
            [Instance("loglikelihood", {}, ("w1", " w3"), 0, metadata=("t", 0, 1))]
        )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"num_fewshot": -1}, r"eval\.num_fewshot=-1: must be a whole number, 0 or more, or null"),
        ({"limit": 0}, r"eval\.limit=0: must be a whole number, 1 or more, or null"),
        ({"role": "both"}, r"eval\.role=both: unknown"),
    ],
)
def test_wrong_settings(arguments: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        built("eval", LMEvalSuite, **{"tasks": {"x": "y"}, "include": "z", "role": "forget", **arguments})
