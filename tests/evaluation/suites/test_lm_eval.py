"""Every figure is the one that lm-eval's own class and entry point report for the same folder and model."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from tests.models.tiny import tiny_model
from tests.models.words import word_tokenizer
from unlearnctl.evaluation.evaluate import validate
from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.evaluation.suites.lm_eval import LMEvalSuite
from unlearnctl.results.metric import Metric
from unlearnctl.utils.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore")  # of the harness

CHAT = (
    "{% for m in messages %}{{ m['role'] | replace('system', 'w80') | replace('user', 'w81') "
    "| replace('assistant', 'w82') }} {{ m['content'] }} w83 {% endfor %}{% if add_generation_prompt %}w82 {% endif %}"
)


def words(rng: random.Random, least: int, most: int) -> str:
    return " ".join(f"w{rng.randrange(90)}" for _ in range(rng.randint(least, most)))


def write_task(folder: Path, name: str, rows: list[dict[str, Any]], **settings: Any) -> None:
    """A task over rows of its own, the first two of which are also its examples."""
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "task": name, "dataset_path": "json", "test_split": "test", "fewshot_split": "few",
        "dataset_kwargs": {"data_files": {s: str(folder / f"{name}.jsonl") for s in ("test", "few")}},
        "output_type": "multiple_choice", "doc_to_text": "{{question}}", "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{answer}}", **settings,
    }  # fmt: skip
    (folder / f"{name}.yaml").write_text(json.dumps(config))  # JSON is YAML


def write_group(folder: Path, name: str, task: list[Any], **settings: Any) -> None:
    (folder / f"{name}.yaml").write_text(json.dumps({"group": name, "task": task, **settings}))


def choices(count: int, seed: int, most: int = 4) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    return [
        {
            "question": words(rng, 2, 7), "choices": [words(rng, 1, 4) for _ in range(most)],
            "answer": rng.randrange(most),
        }
        for _ in range(count)
    ]  # fmt: skip


def texts(count: int, seed: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    return [{"question": words(rng, 2, 5), "answer": words(rng, 1, 30)} for _ in range(count)]


def metrics(*names: str) -> list[dict[str, Any]]:
    return [{"metric": name} for name in names]


def theirs(folder: Path, task: str, shots: int | None = None, tokenizer: Any = None, **options: Any) -> Any:
    found = simple_evaluate(
        model=HFLM(tiny_model("llama"), tokenizer=tokenizer or word_tokenizer(), batch_size=4), tasks=[task],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        num_fewshot=shots, bootstrap_iters=10, **options,
    )  # fmt: skip
    assert found is not None
    return found["results"][task]


def ours(folder: Path, task: str, metric: str, tokenizer: Any = None, **options: Any) -> dict[str, Metric]:
    suite = LMEvalSuite(
        {"x": task}, str(folder), options.pop("role", "retain"), metric=metric, key="eval.w", **options
    )
    words_of = tokenizer or word_tokenizer()
    validate([suite], words_of)
    return suite.run(tiny_model("llama"), words_of, Answers())


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    for name, count in (("a", 4), ("b", 11), ("c", 7)):
        write_task(tmp_path, name, choices(count, count), metric_list=metrics("acc", "acc_norm"))
    write_task(tmp_path, "d", choices(9, 9), metric_list=metrics("acc"), tag=["both"])
    write_task(tmp_path, "e", choices(5, 5, 2), metric_list=metrics("acc"), tag=["both"])
    even = {"metric": "acc", "weight_by_size": False}
    write_group(tmp_path, "even", ["a", "b"], aggregate_metric_list=[even])
    write_group(
        tmp_path, "sized", ["a", "b"], aggregate_metric_list=[{"metric": "acc", "weight_by_size": True}]
    )
    write_group(tmp_path, "outer", ["even", "c"], aggregate_metric_list=[even])
    write_group(
        tmp_path, "several", ["a", "b", "d"],
        aggregate_metric_list=[{"metric": "acc", "filter_list": ["none"]}, {**even, "metric": "acc_norm"}],
    )  # fmt: skip
    write_group(tmp_path, "unscored", ["a", "c"])
    return tmp_path


@pytest.mark.parametrize(
    ("group", "metric"),
    [("even", "acc"), ("sized", "acc"), ("outer", "acc"), ("several", "acc"), ("several", "acc_norm")],
)
def test_a_group_has_the_harness_score_and_error(groups: Path, group: str, metric: str) -> None:
    expected, found = theirs(groups, group), ours(groups, group, metric)["x"]
    assert found.value == expected[f"{metric},none"]
    assert found.stderr == pytest.approx(expected[f"{metric}_stderr,none"])
    assert found.n == expected["sample_count"][f"{metric},none"]
    assert found.items is not None
    assert sum(found.items) / found.n == pytest.approx(found.value)
    assert found.interval is not None
    assert found.interval[0] <= found.value <= found.interval[1]


def test_tasks_of_unlike_size_weigh_alike_where_the_group_says_so(groups: Path) -> None:
    alone = [ours(groups, name, "acc")["x"] for name in ("a", "b")]
    even, sized = ours(groups, "even", "acc")["x"], ours(groups, "sized", "acc")["x"]
    assert even.value == pytest.approx((alone[0].value + alone[1].value) / 2)
    assert sized.value == pytest.approx((4 * alone[0].value + 11 * alone[1].value) / 15)
    assert even.value != pytest.approx(sized.value)


def test_what_has_no_score_of_its_own_is_refused_or_broken_down(groups: Path) -> None:
    for name, kind in (("unscored", "group without aggregate_metric_list"), ("both", "tag")):
        with pytest.raises(UserError) as caught:
            ours(groups, name, "acc")
        assert str(caught.value) == (
            f"eval.w.tasks={name}: lm-eval gives a {kind} no score; name its tasks, or set eval.w.breakdown=true"
        )
    found = ours(groups, "both", "acc", breakdown=True)
    assert {name: m.n for name, m in found.items()} == {"x/d": 9, "x/e": 5}
    assert [found[f"x/{name}"].chance for name in "de"] == [0.25, 0.5]
    assert set(ours(groups, "unscored", "acc", breakdown=True)) == {"x/a", "x/c"}


def test_a_group_offers_what_it_aggregates(groups: Path) -> None:
    with pytest.raises(UserError, match=r"eval\.w\.metric=acc_norm: unknown.*Allowed: acc$"):
        ours(groups, "even", "acc_norm")


ROLLING = ("word_perplexity", "byte_perplexity", "bits_per_byte")


def test_rolling_likelihoods_after_an_empty_prompt(tmp_path: Path) -> None:
    write_task(
        tmp_path, "t", texts(12, 1), output_type="loglikelihood_rolling", doc_to_text="",
        doc_to_target="{{answer}}", doc_to_choice=None, metric_list=metrics(*ROLLING),
    )  # fmt: skip
    expected = theirs(tmp_path, "t")
    for metric in ROLLING:
        found = ours(tmp_path, "t", metric)["x"]
        assert found.value == pytest.approx(expected[f"{metric},none"], rel=1e-5)
        assert (found.n, found.chance, found.role, found.goal) == (12, None, "retain", "lower")
        assert found.interval is not None
        assert found.interval[0] < found.value < found.interval[1]
        assert found.items is not None
    assert ours(tmp_path, "t", "bits_per_byte", role="forget")["x"].goal == "higher"
    with pytest.raises(UserError, match=r"eval\.w\.metric=acc: unknown.*Allowed: bits_per_byte, byte_perp"):
        ours(tmp_path, "t", "acc")


CHOSEN = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "brier_score", "mcc")


def test_scores_of_choices(tmp_path: Path) -> None:
    write_task(tmp_path, "t", choices(15, 3), metric_list=metrics(*CHOSEN))
    expected = theirs(tmp_path, "t")
    for metric in CHOSEN:
        found = ours(tmp_path, "t", metric)["x"]
        assert found.value == pytest.approx(expected[f"{metric},none"], rel=1e-5, abs=1e-12), metric
        assert found.chance == (0.25 if metric.startswith("acc") else None)
        assert found.goal == ("lower" if metric == "brier_score" else "higher")
        assert found.n == 15
    brier = ours(tmp_path, "t", "brier_score")["x"]
    assert sum(brier.items or ()) / 15 == pytest.approx(brier.value)


def test_f1_of_two_choices_and_of_a_last_word(tmp_path: Path) -> None:
    write_task(tmp_path, "two", choices(15, 4, 2), metric_list=metrics("f1", "acc"))
    assert ours(tmp_path, "two", "f1")["x"].value == pytest.approx(theirs(tmp_path, "two")["f1,none"])
    write_task(
        tmp_path, "last", texts(9, 5), output_type="loglikelihood", doc_to_choice=None, doc_to_target=" {{answer}}",
        metric_list=metrics("perplexity", "acc"),
    )  # fmt: skip
    expected = theirs(tmp_path, "last")
    found = ours(tmp_path, "last", "perplexity")["x"]
    assert found.value == pytest.approx(expected["perplexity,none"], rel=1e-5)
    assert ours(tmp_path, "last", "acc")["x"].value == expected["acc,none"]


def test_what_the_harness_fails_to_compute_is_refused_before_a_model_loads(tmp_path: Path) -> None:
    write_task(tmp_path, "t", choices(9, 3), metric_list=metrics("acc", "likelihood"))
    write_task(tmp_path, "f", choices(9, 3), metric_list=metrics("acc", "f1"))
    uneven = [*choices(3, 1, 4), *choices(3, 2, 3)]
    write_task(tmp_path, "b", uneven, metric_list=metrics("acc", "brier_score"))
    for name, metric in (("t", "likelihood"), ("f", "f1"), ("b", "brier_score")):
        line = (
            rf"eval\.w\.tasks={name}: the harness cannot compute its metric {metric} \(.*\); leave it out of"
        )
        with pytest.raises(UserError, match=line) as caught:
            LMEvalSuite({"x": name}, str(tmp_path), "retain", key="eval.w").validate()
        assert "\n" not in str(caught.value)


def generation(folder: Path, **settings: Any) -> None:
    write_task(
        folder, "g", texts(8, 6), output_type="generate_until", doc_to_choice=None,
        generation_kwargs={"until": ["w7"], "max_gen_toks": 6, "do_sample": False}, **settings,
    )  # fmt: skip


def test_texts_that_are_written(tmp_path: Path) -> None:
    generation(tmp_path, metric_list=metrics("exact_match", "bleu", "chrf", "chrf++", "ter"))
    expected = theirs(tmp_path, "g")
    for metric in ("exact_match", "bleu", "chrf", "chrf++", "ter"):
        found = ours(tmp_path, "g", metric)["x"]
        assert found.value == pytest.approx(expected[f"{metric},none"], rel=1e-9), metric
        assert (found.chance, found.goal) == (None, "lower" if metric == "ter" else "higher")


FILTERS = [
    {
        "name": "strict-match",
        "filter": [{"function": "regex", "regex_pattern": "(w1\\d)"}, {"function": "take_first"}],
    },
    {
        "name": "loose",
        "filter": [{"function": "regex", "regex_pattern": "(w\\d)"}, {"function": "take_first"}],
    },
]


def test_each_filter_is_reported(tmp_path: Path) -> None:
    generation(tmp_path, metric_list=metrics("exact_match"), filter_list=FILTERS)
    expected = theirs(tmp_path, "g")
    found = ours(tmp_path, "g", "exact_match")
    assert {name: m.value for name, m in found.items()} == {
        f"x,{way}": expected[f"exact_match,{way}"] for way in ("strict-match", "loose")
    }
    one = ours(tmp_path, "g", "exact_match,loose")
    assert {name: m.n for name, m in one.items()} == {"x": 8}
    with pytest.raises(UserError, match=r"exact_match,lose: unknown \(did you mean 'exact_match,loose'\?\)"):
        ours(tmp_path, "g", "exact_match,lose")


def test_several_right_choices(tmp_path: Path) -> None:
    rows = [row | {"answer": [0, 2]} for row in choices(12, 8)]
    write_task(tmp_path, "m", rows, doc_to_target="answer", metric_list=metrics("acc", "acc_norm"))
    found = ours(tmp_path, "m", "acc")["x"]
    assert found.value == theirs(tmp_path, "m")["acc,none"]
    assert found.chance == 0.5
    write_task(tmp_path, "m", [*rows, rows[0] | {"answer": [1, 4]}], doc_to_target="answer")
    with pytest.raises(UserError, match=r"question 13: answer=4: must be 0 to 3"):
        ours(tmp_path, "m", "acc")


SETTINGS: dict[str, dict[str, Any]] = {
    "description": {"description": "w3 w4 w5 "},
    "delimiters": {"target_delimiter": " w9 ", "fewshot_delimiter": " w8 "},
    "first_n": {"fewshot_config": {"sampler": "first_n"}},
    "prefix of answers": {"gen_prefix": "w6 w7"},
    "no prompt": {"doc_to_text": ""},
    "own examples": {"fewshot_config": {"sampler": "first_n", "doc_to_text": "w2 {{question}}"}},
    "repeats": {"repeats": 3},
    "prompts to choose from": {
        "doc_to_text": "{{answer}}", "doc_to_target": "{{question}}", "doc_to_choice": "{{choices}}",
    },
}  # fmt: skip


@pytest.mark.first(4)
@pytest.mark.parametrize("shots", [0, 2])
@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_tasks_mean_what_they_mean_there(tmp_path: Path, name: str, shots: int) -> None:
    write_task(
        tmp_path, "t", choices(10, 7), **SETTINGS[name], metric_list=metrics("acc", "acc_norm", "acc_bytes")
    )
    expected = theirs(tmp_path, "t", shots)
    for metric in ("acc", "acc_norm", "acc_bytes"):
        assert ours(tmp_path, "t", metric, num_fewshot=shots)["x"].value == expected[f"{metric},none"]


def test_examples_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_task(tmp_path, "t", choices(3, 7), metric_list=metrics("acc"), num_fewshot=0)
    with pytest.raises(UserError, match=r"eval\.w\.tasks=t: num_fewshot=9: "):
        ours(tmp_path, "t", "acc", num_fewshot=9)
    assert "eval.w.num_fewshot=9: t says 0, where lm-eval's own command keeps 0" in capsys.readouterr().out


# --- the chat template


def chatting() -> Any:
    tokenizer = word_tokenizer()
    tokenizer.chat_template = CHAT
    return tokenizer


@pytest.mark.first(2)
@pytest.mark.parametrize("system", [None, "w60 w61"])
@pytest.mark.parametrize("turns", [True, False])
@pytest.mark.parametrize("shots", [0, 2])
def test_chat_templates(tmp_path: Path, system: str | None, turns: bool, shots: int) -> None:
    write_task(tmp_path, "t", choices(12, 2), description="w50 ", metric_list=metrics("acc", "brier_score"))
    options = {"apply_chat_template": True, "fewshot_as_multiturn": turns, "system_instruction": system}
    expected = theirs(tmp_path, "t", shots, chatting(), **options)
    plain = theirs(tmp_path, "t", shots, chatting())
    found = ours(tmp_path, "t", "brier_score", chatting(), num_fewshot=shots, **options)["x"]
    assert found.value == pytest.approx(expected["brier_score,none"], rel=1e-5)
    assert found.value != pytest.approx(plain["brier_score,none"], rel=1e-5)


def test_a_system_instruction_without_a_template(tmp_path: Path) -> None:
    write_task(tmp_path, "t", choices(12, 2), metric_list=metrics("brier_score"))
    expected = theirs(tmp_path, "t", system_instruction="w60 w61")["brier_score,none"]
    found = ours(tmp_path, "t", "brier_score", system_instruction="w60 w61")["x"].value
    assert found == pytest.approx(expected, rel=1e-5)


def test_examples_are_turns_of_their_own_by_default_as_in_the_harness(tmp_path: Path) -> None:
    write_task(tmp_path, "t", choices(12, 2), metric_list=metrics("brier_score"))
    expected = theirs(tmp_path, "t", 2, chatting(), apply_chat_template=True)["brier_score,none"]
    found = ours(tmp_path, "t", "brier_score", chatting(), num_fewshot=2, apply_chat_template=True)["x"]
    assert found.value == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"apply_chat_template": True},
            "eval.w.apply_chat_template=true: the tokenizer has no chat template; set eval.w.apply_chat_template=false",
        ),
        (
            {"fewshot_as_multiturn": True},
            "eval.w.fewshot_as_multiturn=true: needs eval.w.apply_chat_template=true",
        ),
        (
            {"prefix": "w1", "system_instruction": "w2"},
            "eval.w.prefix and eval.w.system_instruction: give one, they are the same place",
        ),
    ],
)  # fmt: skip
def test_chat_settings_that_cannot_be(tmp_path: Path, options: dict[str, Any], line: str) -> None:
    write_task(tmp_path, "t", choices(3, 2), metric_list=metrics("acc"))
    with pytest.raises(UserError) as caught:
        ours(tmp_path, "t", "acc", **options)
    assert str(caught.value) == line


def test_a_text_that_joins_the_prompt_without_a_space_has_no_tokens_of_its_own(tmp_path: Path) -> None:
    """The harness stops there with an assertion."""
    write_task(
        tmp_path, "t", texts(3, 5), output_type="loglikelihood", doc_to_choice=None, doc_to_target="x",
        metric_list=metrics("acc"),
    )  # fmt: skip
    with pytest.raises(
        UserError, match=r"eval\.w: what follows '.*' has 0 tokens of its own: must be 1 to 256"
    ):
        ours(tmp_path, "t", "acc")
