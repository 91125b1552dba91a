"""A suite reports what lm-eval's own entry point reports, for every kind of metric, group and prompt."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from tests.evaluation.scoring.test_harness import words
from tests.models.tiny import tiny_model
from tests.models.words import word_tokenizer
from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.evaluation.suites.lm_eval import LMEvalSuite
from unlearnctl.results.metric import Metric
from unlearnctl.utils.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore")
CHOICE = {"output_type": "multiple_choice", "doc_to_text": "{{question}}", "doc_to_choice": "{{choices}}",
          "doc_to_target": "answer", "metric_list": [{"metric": "acc"}, {"metric": "mcc"},
          {"metric": "brier_score", "higher_is_better": False, "aggregation": "brier_score"}]}  # fmt: skip
SIZES = {"few": 3, "more": 11, "many": 26}
TEMPLATE = (
    "{% for m in messages %}w1 {{ m.content }} w2 {% endfor %}{% if add_generation_prompt %}w3 {% endif %}"
)


def write(folder: Path, name: str, **settings: Any) -> None:
    (folder / f"{name}.yaml").write_text(json.dumps(settings))  # JSON is YAML


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("tasks"), random.Random(1)
    for name, count in {**SIZES, "dev": 4}.items():
        rows = [
            {"question": words(rng, 2, 9), "choices": [words(rng, 1, 5) for _ in range(4)],
             "answer": rng.randrange(4), "said": words(rng, 1, 2)}
            for _ in range(count)
        ]  # fmt: skip
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def data(name: str) -> dict[str, Any]:
        files = {"test": f"{root}/{name}.jsonl", "dev": f"{root}/dev.jsonl"}
        few = {"fewshot_split": "dev", "fewshot_config": {"sampler": "first_n"}}
        return {"dataset_path": "json", "dataset_kwargs": {"data_files": files}, "test_split": "test", **few}

    for name in SIZES:
        write(root, name, task=name, **data(name), **CHOICE)
    by = {"metric": "acc", "weight_by_size": True}, {"metric": "acc", "weight_by_size": False}
    write(root, "g1", group="by_size", task=list(SIZES), aggregate_metric_list=[by[0]])
    write(root, "g2", group="by_task", task=list(SIZES), aggregate_metric_list=[by[1]])
    write(root, "g3", group="nested", task=["few", "inner"], aggregate_metric_list=[by[1]])
    write(root, "g4", group="inner", task=["more", "many"], aggregate_metric_list=[by[0]])
    write(root, "g5", group="bare", task=["few", "many"])
    two = {
        "doc_to_choice": ["w1", "w2"],
        "doc_to_target": "{{answer % 2}}",
        "metric_list": [{"metric": "f1"}],
    }
    write(root, "pair", task="pair", **data("many"), **{**CHOICE, **two})
    write(root, "empty", task="empty", **data("many"), **{**CHOICE, "doc_to_text": ""})
    names = ("word_perplexity", "byte_perplexity", "bits_per_byte")
    write(root, "rolling", task="rolling", **data("many"), output_type="loglikelihood_rolling", doc_to_text="",
          doc_to_target="{{question}}", metric_list=[{"metric": name} for name in names])  # fmt: skip
    write(root, "last", task="last", **data("more"), output_type="loglikelihood", doc_to_text="{{question}}",
          doc_to_target=" {{said}}", metric_list=[{"metric": "perplexity"}, {"metric": "acc"}])  # fmt: skip
    filters = [
        {"name": "strict", "filter": [{"function": "take_first"}]},
        {
            "name": "loose",
            "filter": [{"function": "regex", "regex_pattern": "(w[0-9]+)"}, {"function": "take_first"}],
        },
    ]
    write(root, "said", task="said", **data("few"), output_type="generate_until", doc_to_text="{{question}}",
          doc_to_target="{{said}}", generation_kwargs={"max_gen_toks": 3, "until": ["w4"]}, filter_list=filters,
          metric_list=[{"metric": "exact_match"}])  # fmt: skip
    return root


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model("llama")


def tokenizer() -> Any:
    made = word_tokenizer()
    made.chat_template = TEMPLATE
    return made


def theirs(folder: Path, task: str, model: Any, **kwargs: Any) -> dict[str, Any]:
    found = simple_evaluate(
        model=HFLM(model, tokenizer=tokenizer(), batch_size=4), tasks=[task], bootstrap_iters=0, log_samples=True,
        task_manager=TaskManager(include_path=str(folder), include_defaults=False), **kwargs,
    )  # fmt: skip
    assert found is not None
    return found


def ours(folder: Path, task: str, model: Any, metric: str, role: str = "forget", **kwargs: Any) -> Metric:
    suite = LMEvalSuite({"x": task}, str(folder), role, metric=metric, key="eval.t", **kwargs)
    suite.validate()
    suite.check_tokenizer(tokenizer())
    return suite.run(model, tokenizer(), Answers())["x"]


@pytest.mark.parametrize("task", ["by_size", "by_task", "nested", "few"])
def test_a_group_is_weighted_as_it_says(folder: Path, task: str, model: Any) -> None:
    expected, found = theirs(folder, task, model), ours(folder, task, model, "acc")
    assert found.value == pytest.approx(expected["results"][task]["acc,none"], abs=1e-12)
    assert found.n == expected["results"][task]["sample_len"]
    assert found.items is not None
    assert sum(found.items) / len(found.items) == pytest.approx(found.value)
    assert found.interval is not None
    assert 0 <= found.interval[0] < found.value < found.interval[1] <= 1


def test_the_two_weightings_differ_and_the_error_is_that_of_a_mean_of_means(folder: Path, model: Any) -> None:
    from lm_eval.api.metrics import unweighted_mean_stderr

    found = ours(folder, "by_task", model, "acc")
    parts = [ours(folder, name, model, "acc") for name in SIZES]
    assert found.value != pytest.approx(ours(folder, "by_size", model, "acc").value, abs=1e-3)
    assert found.value == pytest.approx(sum(part.value for part in parts) / 3)
    assert found.stderr == pytest.approx(unweighted_mean_stderr([part.stderr for part in parts]))


METRICS = [
    ("pair", "f1", "lower"), ("many", "mcc", "lower"), ("many", "brier_score", "higher"),
    ("rolling", "word_perplexity", "higher"), ("rolling", "byte_perplexity", "higher"),
    ("rolling", "bits_per_byte", "higher"), ("last", "perplexity", "higher"), ("last", "acc", "lower"),
    ("empty", "acc", "lower"),
]  # fmt: skip


@pytest.mark.first(3)
@pytest.mark.parametrize(("task", "metric", "goal"), METRICS)
def test_every_kind_of_metric_is_the_harnesss(
    folder: Path, model: Any, task: str, metric: str, goal: str
) -> None:
    """Goals are those of a forget task: perplexity and Brier's error are to rise, accuracy is to fall."""
    expected = theirs(folder, task, model)["results"][task][f"{metric},none"]
    found = ours(folder, task, model, metric)
    assert found.value == pytest.approx(expected, rel=1e-5)
    assert (found.goal, found.n) == (goal, expected_count(task))
    assert (found.chance is None) == (metric != "acc" or task == "last")
    assert found.interval is not None
    assert found.stderr is not None


def expected_count(task: str) -> int:
    return SIZES[{"rolling": "many", "last": "more", "empty": "many", "pair": "many"}.get(task, task)]


def test_of_several_filters_one_is_named(folder: Path, model: Any) -> None:
    results = theirs(folder, "said", model)["results"]["said"]
    for name in ("exact_match,strict", "exact_match,loose"):
        assert ours(folder, "said", model, name).value == results[name]


def test_a_metric_that_a_task_lacks_is_refused_before_a_model_loads(folder: Path) -> None:
    with pytest.raises(UserError, match=r"^eval\.t\.metric=ac: unknown \(did you mean 'acc'\?\)"):
        LMEvalSuite({"x": "by_task"}, str(folder), "forget", metric="ac", key="eval.t").validate()


CHATS = [
    {"apply_chat_template": True},
    {"apply_chat_template": True, "system_instruction": "w9 w8"},
    {"apply_chat_template": True, "num_fewshot": 2},
    {"apply_chat_template": True, "num_fewshot": 2, "fewshot_as_multiturn": True, "system_instruction": "w9"},
    {"system_instruction": "w9 w8"},
]


@pytest.mark.first(1)
@pytest.mark.parametrize("options", CHATS)
def test_prompts_through_the_chat_template_are_the_harnesss(
    folder: Path, model: Any, options: dict[str, Any]
) -> None:
    kwargs = {"fewshot_as_multiturn": False, **options}
    expected = theirs(folder, "more", model, **kwargs)
    plain = theirs(folder, "more", model)["samples"]["more"]
    asked = kwargs if options.get("apply_chat_template") else options
    suite = LMEvalSuite({"x": "more"}, str(folder), "forget", key="eval.t", **asked)
    samples = suite._evaluate(model, tokenizer(), Answers())["samples"]["more"]
    likelihoods = [
        [x[0] for s in each for x in s["filtered_resps"]] for each in (samples, expected["samples"]["more"])
    ]
    assert [s["arguments"] for s in samples] == [s["arguments"] for s in expected["samples"]["more"]]
    assert [s["arguments"] for s in samples] != [s["arguments"] for s in plain]
    assert likelihoods[0] == pytest.approx(likelihoods[1], abs=1e-4)
