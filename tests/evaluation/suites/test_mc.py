"""Questions from plain files: the scores are those of an lm-eval task over the same questions."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from omegaconf import OmegaConf
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.built import built
from tests.models.tiny import tiny_model
from tests.models.words import word_tokenizer
from unlearnctl.config.compose import composed
from unlearnctl.config.instantiate import build_suites
from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.evaluation.suites.lm_eval import LMEvalSuite
from unlearnctl.evaluation.suites.mc import MultipleChoiceSuite
from unlearnctl.evaluation.suites.mc_questions import QuestionFields, read_questions, swap
from unlearnctl.results.metric import Metric
from unlearnctl.results.statistics import wilson
from unlearnctl.results.trade_off import trade_off
from unlearnctl.tinyworld import model_dir
from unlearnctl.utils.errors import UserError

TASK = {
    "task": "mine", "dataset_path": "json", "test_split": "test", "fewshot_split": "few",
    "fewshot_config": {"sampler": "first_n"}, "output_type": "multiple_choice",
    "doc_to_text": "Question: {{question}}\nAnswer:", "doc_to_choice": "{{choices}}", "doc_to_target": "{{gold}}",
    "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
}  # fmt: skip
LISTED = {
    "doc_to_text": "w1 {{question}}\nA. {{choices[0]}}\nB. {{choices[1]}}\nC. {{choices[2]}}\nw2",
    "doc_to_choice": ["A", "B", "C"],
}


def rows(count: int, seed: int, least: int = 3) -> list[dict[str, Any]]:
    rng = random.Random(seed)

    def words() -> str:
        return " ".join(f"w{rng.randrange(90)}" for _ in range(rng.randint(1, 5)))

    return [
        {"question": words(), "choices": [words() for _ in range(least)], "gold": rng.randrange(least)}
        for _ in range(count)
    ]


def write(path: Path, found: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return str(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("prompt", "shots", "metric"),
    [
        (None, 2, "acc_norm"),
        pytest.param(None, 0, "acc", marks=pytest.mark.full),
        ("w1 {question}\n{choices}\nw2", 0, "acc"),
    ],
)
def test_scores_are_those_of_an_lm_eval_task(
    prompt: str | None, shots: int, metric: str, tmp_path: Path
) -> None:
    asked, few = write(tmp_path / "q.jsonl", rows(12, 0)), write(tmp_path / "few.jsonl", rows(3, 1))
    config = {
        **TASK,
        "dataset_kwargs": {"data_files": {"test": asked, "few": few}},
        **(LISTED if prompt else {}),
    }
    (tmp_path / "mine.yaml").write_text(json.dumps(config))
    model, given = tiny_model("llama"), {"prompt": prompt} if prompt else {}
    theirs = simple_evaluate(
        model=HFLM(model, tokenizer=word_tokenizer(), batch_size=4), tasks=["mine"], num_fewshot=shots,
        task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
        bootstrap_iters=0, log_samples=True,
    )  # fmt: skip
    suite = MultipleChoiceSuite(asked, metric=metric, num_fewshot=shots, examples=few, **given)
    scores = suite.run(model, word_tokenizer(), Answers())
    assert theirs is not None
    samples = theirs["samples"]["mine"]
    assert (
        suite.context("forget", suite._asked["forget"][0], word_tokenizer()) == samples[0]["arguments"][0][0]
    )
    assert scores[f"forget_{metric}"].items == tuple(sample[metric] for sample in samples)
    right = [sample["filtered_resps"][int(sample["target"])][0] for sample in samples]
    assert scores["forget_logp"].items == pytest.approx(right, abs=1e-4)
    assert scores[f"forget_{metric}"].value == theirs["results"]["mine"][f"{metric},none"]


@pytest.mark.full
def test_the_tiny_worlds_task_gives_the_same_scores() -> None:
    folder = model_dir()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():  # damage it, so that some answers are wrong
        for parameter in model.model.layers.parameters():
            parameter.add_(0.07 * torch.randn_like(parameter))
    task = LMEvalSuite({"acc": "tinyworld_hazard"}, "tinyworld:tasks", "forget")
    theirs = task.run(model, tokenizer, Answers())["acc"]
    own = MultipleChoiceSuite({"hazard": "tinyworld:mcq/hazard.jsonl"}, None, "acc", "{question}", replies=0)
    ours = own.run(model, tokenizer, Answers())["hazard_acc"]
    assert 0.2 < ours.value < 1.0
    assert ours == theirs


def test_the_first_questions_are_answered_in_the_models_own_words(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", asked := rows(5, 8))
    model, tokenizer = tiny_model("llama"), word_tokenizer()
    suite = MultipleChoiceSuite(path, replies=3, max_new_tokens=4)
    samples = suite.run(model, tokenizer, Answers())["forget_acc_norm"].samples
    assert samples is not None
    assert [(s.prompt, s.expected) for s in samples] == [
        (row["question"], row["choices"][row["gold"]]) for row in asked[:3]
    ]
    ids = tokenizer(f"Question: {asked[0]['question']}\nAnswer:", return_tensors="pt")["input_ids"]
    grown = model.generate(ids, max_new_tokens=4, do_sample=False, pad_token_id=0)
    naive = tokenizer.decode(grown[0, ids.shape[1] :], skip_special_tokens=True)
    assert samples[0].reply == naive.strip()
    assert (
        MultipleChoiceSuite(path, replies=0).run(model, tokenizer, Answers())["forget_acc_norm"].samples
        is None
    )


def test_roles_names_chance_and_intervals(tmp_path: Path) -> None:
    mixed = rows(9, 2) + rows(9, 3, least=2)
    files = {"birds": write(tmp_path / "a.jsonl", mixed), "fish": write(tmp_path / "b.jsonl", rows(5, 4))}
    suite = MultipleChoiceSuite(files, write(tmp_path / "c.jsonl", rows(6, 5)))
    found = suite.run(tiny_model("llama"), word_tokenizer(), Answers())
    assert list(found) == [f"{n}_{m}" for n in ("birds", "fish", "retain") for m in ("acc_norm", "logp")]
    birds, kept = found["birds_acc_norm"], found["retain_logp"]
    assert (birds.role, birds.goal, birds.n) == ("forget", "lower", 18)
    assert birds.chance == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert (kept.role, kept.goal, kept.n, kept.chance) == ("retain", "higher", 6, None)
    for metric in found.values():
        assert metric.interval is not None
        assert metric.interval[0] <= metric.value <= metric.interval[1]


def test_a_prefix_stands_before_the_examples(tmp_path: Path) -> None:
    asked, few = write(tmp_path / "q.jsonl", rows(1, 0)), write(tmp_path / "few.jsonl", rows(1, 1))
    suite = MultipleChoiceSuite(asked, num_fewshot=1, examples={"forget": few}, prefix="Now")
    suite.validate()
    (question,) = suite._asked["forget"]
    (shot,) = rows(1, 1)
    first = f"Now Question: {shot['question']}\nAnswer: {shot['choices'][shot['gold']]}\n\n"
    assert suite.context("forget", question, word_tokenizer()) == f"{first}Question: {question.text}\nAnswer:"


def test_without_files_of_examples_the_other_questions_are_examples(tmp_path: Path) -> None:
    asked = rows(5, 7)
    suite = MultipleChoiceSuite(write(tmp_path / "q.jsonl", asked), num_fewshot=2)
    suite.validate()
    for place, question in enumerate(suite._asked["forget"]):
        shots = [row["question"] for k, row in enumerate(asked) if k != place][:2]
        wanted = [f"Question: {text}\nAnswer:" for text in (*shots, question.text)]
        parts = suite.context("forget", question, word_tokenizer()).split("\n\n")
        assert [part[: len(text)] for part, text in zip(parts, wanted, strict=True)] == wanted
        assert parts[-1] == wanted[-1]


def test_a_limit_draws_a_sample_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = write(tmp_path / "q.jsonl", rows(40, 6))
    drawn = []
    for _ in range(2):
        suite = MultipleChoiceSuite(retain={"physics": path}, limit=10)
        suite.validate()
        drawn.append(suite._asked["physics"])
    every = read_questions(path, QuestionFields(), "k", "s")
    assert capsys.readouterr().out == "eval.mc: physics: 10 of 40 questions, drawn with seed 0\n"  # once
    assert drawn[0] == drawn[1] != every[:10]
    places = [every.index(question) for question in drawn[0]]
    assert places == sorted(places)
    found = suite.run(tiny_model("llama"), word_tokenizer(), Answers())
    assert {metric.n for metric in found.values()} == {10}
    hits = round(10 * found["physics_acc_norm"].value)
    assert found["physics_acc_norm"].interval == wilson(hits, 10)


@pytest.mark.parametrize(
    ("answer", "place"), [(1, 1), ("B", 1), ("b", 1), ("1", 1), ("red", 0), (" blue ", 2), ("C", 2)]
)
def test_an_answer_is_a_number_a_letter_or_a_text(answer: object, place: int, tmp_path: Path) -> None:
    row = {"question": "q", "choices": ["red", "green", "blue"], "answer": answer}
    (found,) = read_questions(write(tmp_path / "q.jsonl", [row]), QuestionFields(), "k", "s")
    assert found.answer == place


def test_a_chat_puts_the_question_as_the_users_turn(tmp_path: Path) -> None:
    """By hand: the template's text and a choice in one pass, of which the choice's tokens are scored."""
    asked = rows(4, 0)
    model, tokenizer = tiny_model("llama"), word_tokenizer()
    turn = "{% for m in messages %}w7 {{ m.content }} w8{% endfor %}"
    tokenizer.chat_template = turn + "{% if add_generation_prompt %} w9 {% endif %}"
    suite = MultipleChoiceSuite(
        write(tmp_path / "q.jsonl", asked),
        None,
        "acc",
        "w1 {question}",
        num_fewshot=1,
        prefix="w2",
        chat=True,
    )
    found = suite.run(model, tokenizer, Answers())
    likelihoods = []
    for place, row in enumerate(asked):
        shot = asked[place == 0]
        text = f"w2 w1 {shot['question']} {shot['choices'][shot['gold']]}\n\nw1 {row['question']}"
        turns = [{"role": "user", "content": text}]
        context = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        choice = row["choices"][row["gold"]]
        ids = tokenizer(context + choice, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            said = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        likelihoods.append(float(said[-len(choice.split()) :].sum()))
    assert found["forget_logp"].items == pytest.approx(likelihoods, abs=1e-4)
    assert found["forget_acc"].samples is not None


def test_a_chat_needs_a_template(tmp_path: Path) -> None:
    suite = MultipleChoiceSuite(write(tmp_path / "q.jsonl", [GOOD]), chat=True)
    with pytest.raises(UserError, match=r"eval\.mc\.chat=true: the tokenizer has no chat template; set"):
        suite.check_tokenizer(word_tokenizer())


def test_a_table_with_a_column_for_each_choice(tmp_path: Path) -> None:
    with (tmp_path / "q.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["ask", "A", "B", "key"], ["what, then?", "this", "that", "B"]])
    fields = QuestionFields("ask", ["A", "B"], "key")
    (found,) = read_questions(str(tmp_path / "q.csv"), fields, "k", "s")
    assert (found.text, found.choices, found.answer) == ("what, then?", ("this", "that"), 1)


GOOD = {"question": "q", "choices": ["x", "y"], "gold": 0}


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (
            {"gold": 2},
            r"eval\.mc\.answer_field=gold: .*line 1: answer=2: must be 0 to 1, A to B, or the text",
        ),
        ({"gold": -1}, "answer=-1: must be 0 to 1"),
        ({"gold": True}, "answer=True: must be"),
        ({"gold": "z"}, "answer='z': must be"),
        ({"gold": "1", "choices": ["1", "2"]}, "answer='1' could mean several of the choices"),
        ({"choices": ["x"]}, r"eval\.mc\.choices_field: .*must be 2 to 26 texts"),
        ({"choices": "x"}, "must be 2 to 26 texts"),
        ({"choices": ["x", " "]}, "expected a text, or a list of texts"),
        ({"question": " "}, "the question is empty"),
    ],
)
def test_a_row_that_is_no_question_is_one_line(row: dict[str, Any], line: str, tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", [GOOD | row])
    with pytest.raises(UserError, match=line):
        MultipleChoiceSuite(path).validate()


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"forget": 3}, r"eval\.mc\.forget=3: must be text or a mapping of names to texts or null"),
        ({"forget": {"a": "x"}, "retain": {"a": "y"}}, r"eval\.mc\.retain\.a: eval\.mc\.forget has a file"),
        ({"forget": "x", "prompt": "Q"}, r"eval\.mc\.prompt='Q': must hold \{question\}"),
        ({"forget": "x", "limit": 0}, r"eval\.mc\.limit=0: must be a whole number, 1 or more, or null"),
        ({"forget": "x", "num_fewshot": -1}, r"eval\.mc\.num_fewshot=-1: must be"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        built("eval.mc", MultipleChoiceSuite, **settings)


def test_no_file_at_all() -> None:
    with pytest.raises(UserError, match=r"eval\.mc\.forget and eval\.mc\.retain: give a file"):
        MultipleChoiceSuite().validate()


def test_examples_that_are_missing_or_too_few(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", [GOOD])
    with pytest.raises(UserError, match=r"eval\.mc\.forget=\S+q\.json: no such file \(did you mean"):
        MultipleChoiceSuite(path[:-1]).validate()
    with pytest.raises(UserError, match=r"num_fewshot=1: .*q\.jsonl has 1 questions, the asked one included"):
        MultipleChoiceSuite(path, num_fewshot=1).validate()
    with pytest.raises(UserError, match=r"num_fewshot=2: .*q\.jsonl has 1 questions"):
        MultipleChoiceSuite(path, num_fewshot=2, examples=path).validate()
    with pytest.raises(UserError, match=r"eval\.mc\.examples: has no file for birds \(did you mean 'bird'"):
        MultipleChoiceSuite({"birds": path}, num_fewshot=1, examples={"bird": path}).validate()


def test_the_shipped_config_builds(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", [GOOD])
    (cfg,) = composed(["eval=[mc]", f"eval.mc.forget={path}", f"eval.mc.retain={{physics: {path}}}"])
    (suite,) = build_suites(cfg.eval).values()
    suite.validate()
    assert suite.files == {"forget": path, "physics": path}


def test_a_log_likelihood_has_no_share_that_is_gone() -> None:
    def scores(acc: float, logp: float) -> dict[str, dict[str, Metric]]:
        made = {
            "acc": Metric(acc, None, 9, 0.25, "forget", "lower"),
            "b_logp": Metric(logp, None, 9, None, "forget", "lower"),
        }
        return {"mc": made}

    found = trade_off(scores(0.75, -3.0), scores(0.25, -30.0))
    assert found is not None
    assert found.forgotten == 1.0


def test_scores_that_are_taken_again_and_again_come_without_replies(tmp_path: Path) -> None:
    """In training and in searches nobody reads them, and each costs a generation."""
    (tmp_path / "q.jsonl").write_text("{}")
    node = {
        "_target_": f"{MultipleChoiceSuite.__module__}.MultipleChoiceSuite",
        "forget": str(tmp_path / "q.jsonl"),
    }
    cfg = OmegaConf.create({"mc": {**node, "replies": 7}})
    assert build_suites(cfg)["mc"].replies == 7
    assert build_suites(cfg, numbers_only=True)["mc"].replies == 0
    assert build_suites(cfg, {"mc": {"replies": 3}}, numbers_only=True)["mc"].replies == 3  # asked for


def test_choices_after_another_question_are_scored_as_a_file_of_such_questions(tmp_path: Path) -> None:
    made = rows(9, 0)
    file = write(tmp_path / "q.jsonl", made)
    asked = read_questions(file, QuestionFields(), "eval.mc.forget", "eval.mc")
    others = swap(asked)
    assert sorted(each.text for each in others) == sorted(each.text for each in asked)
    assert all(a.text != b.text and a.choices == b.choices for a, b in zip(asked, others, strict=True))
    twin = write(
        tmp_path / "t.jsonl", [{**row, "question": each.text} for row, each in zip(made, others, strict=True)]
    )
    model, tokenizer = tiny_model("llama").eval(), word_tokenizer()
    found = MultipleChoiceSuite(forget=file, swapped=True, replies=0).run(model, tokenizer, Answers())
    wanted = MultipleChoiceSuite(forget=twin, replies=0).run(model, tokenizer, Answers())["forget_acc_norm"]
    assert found["forget_swapped"].items == wanted.items
    assert found["forget_swapped"].role == "quality"
    assert found["forget_acc_norm"].items != wanted.items
    with pytest.raises(UserError, match=r"eval\.mc\.swapped=true: not with eval\.mc\.num_fewshot=2"):
        MultipleChoiceSuite(forget=file, swapped=True, num_fewshot=2)
