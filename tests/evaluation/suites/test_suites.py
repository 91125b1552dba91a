"""Scores against naive loops; nothing of the model, tokenizer or random state is left changed."""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

from tests.models.tiny import tiny_model
from tests.models.words import word_tokenizer
from unlearnctl import tinyworld
from unlearnctl.config.instantiate import build_suites
from unlearnctl.evaluation.evaluate import evaluate
from unlearnctl.evaluation.scoring import toxicity_scorers
from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.evaluation.suites import toxicity
from unlearnctl.evaluation.suites.lm_eval import LMEvalSuite
from unlearnctl.evaluation.suites.perplexity import PerplexitySuite, perplexity
from unlearnctl.evaluation.suites.tinyworld import TinyWorldSuite
from unlearnctl.evaluation.suites.toxicity import ToxicitySuite
from unlearnctl.results.metric import SAMPLES
from unlearnctl.results.statistics import binomial_stderr
from unlearnctl.tinyworld.texts import is_toxic
from unlearnctl.tinyworld.world_files import materialise
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.paths import conf_dir


@pytest.fixture(scope="module")
def world():
    path = tinyworld.model_dir()
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(path)


def naive_accuracy(model, tokenizer, rows: list[dict]) -> float:
    """Log-likelihood of each choice after the question, one at a time."""
    right = 0
    for row in rows:
        scores = []
        for choice in row["choices"]:
            start = tokenizer(row["question"])["input_ids"]
            ids = tokenizer(row["question"] + " " + choice)["input_ids"]
            with torch.no_grad():
                logp = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            scores.append(sum(float(logp[t - 1, ids[t]]) for t in range(len(start), len(ids))))
        right += scores.index(max(scores)) == row["answer"]
    return right / len(rows)


@pytest.mark.parametrize("group", ["hazard", "benign_unseen"])
def test_accuracy_is_that_of_a_naive_loop(group: str, world) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(tinyworld.model_dir(), dtype=torch.float32)
    with torch.no_grad():  # damage it, so that the score is neither 0 nor 1
        for p in model.model.layers.parameters():
            p.add_(0.07 * torch.randn_like(p))
    rows = [json.loads(x) for x in (materialise() / f"mcq/{group}.jsonl").read_text().splitlines()][:60]
    suite = LMEvalSuite({"acc": f"tinyworld_{group}"}, "tinyworld:tasks", "forget", limit=60)
    (metric,) = evaluate({"s": suite}, model, world[1])["s"].values()
    expected = naive_accuracy(model.eval(), world[1], rows)
    assert 0.2 < expected < 1.0
    assert metric.value == pytest.approx(expected)
    assert (metric.n, metric.chance, metric.role, metric.goal) == (60, 0.25, "forget", "lower")
    assert metric.stderr == pytest.approx(math.sqrt(expected * (1 - expected) / 59))


def test_harness_is_quiet_and_leaves_no_trace(world, capfd: pytest.CaptureFixture) -> None:
    model, tokenizer = world
    model.train()
    before = (tokenizer.padding_side, model.generation_config, torch.get_rng_state())
    suite = LMEvalSuite({"acc": "tinyworld_benign"}, "tinyworld:tasks", "retain", num_fewshot=2, limit=8)
    evaluate({"s": suite}, model, tokenizer, quiet=True)
    assert (tokenizer.padding_side, model.generation_config) == before[:2]
    assert torch.equal(torch.get_rng_state(), before[2])
    assert model.training
    model.eval()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("include", "task"), [("lm_eval:wmdp", "wmdp_bio"), ("lm_eval:mmlu/default", "mmlu")]
)
def test_shipped_task_folders_have_their_tasks(include: str, task: str) -> None:
    LMEvalSuite({"x": task}, include, "forget").harness.check_names()


FINE = {"question": "a", "choices": ["b", "c"], "answer": 0}
LOCAL_TASK = """
task: t
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{folder}/q.jsonl"}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
"""


@pytest.mark.parametrize(
    ("odd", "yaml", "line"),
    [
        ({"choices": None}, None, "question 2: choices=None: must be two or more"),
        ({"choices": ["b"]}, None, "question 2: choices=.'b'.: must be two or more"),
        ({"choices": ["b", " "]}, None, "question 2: .*each must be text, not empty"),
        ({"answer": 2}, None, "question 2: answer=2: must be 0 to 1"),
        ({"question": " "}, None, "question 2: the prompt is empty"),
        (None, None, "cannot be loaded"),
        ({}, "task: [", r"eval\.w\.(include|tasks)="),
        ({}, "task: t\noutput_type: x", "cannot be loaded"),
    ],
)
def test_malformed_tasks_are_one_line_before_a_model_loads(
    odd: dict | None, yaml: str | None, line: str, tmp_path: Path
) -> None:
    rows = [] if odd is None else [FINE, FINE | odd]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "t.yaml").write_text(yaml or LOCAL_TASK.format(folder=tmp_path))
    with pytest.raises(UserError, match=line) as caught:
        LMEvalSuite({"x": "t"}, str(tmp_path), "forget", key="eval.w").validate()
    assert "\n" not in str(caught.value)


def test_unknown_task_and_folder() -> None:
    with pytest.raises(UserError, match=r"eval\.w\.tasks=wmdp_boi: unknown \(did you mean 'wmdp_bio'\?\)"):
        LMEvalSuite({"x": "wmdp_boi"}, "lm_eval:wmdp", "forget", key="eval.w").validate()
    with pytest.raises(UserError, match=r"eval\.w\.include=nowhere: no such folder"):
        LMEvalSuite({"x": "y"}, "nowhere", "forget", key="eval.w").validate()


def test_tinyworld_metrics_of_the_shipped_model(world) -> None:
    scores = evaluate({"t": TinyWorldSuite()}, *world, quiet=True)["t"]
    expected = {
        "hazard_acc": ("forget", "lower", 270, 0.25), "hazard_unseen_acc": ("forget", "lower", 90, 0.25),
        "benign_acc": ("retain", "higher", 480, 0.25), "benign_unseen_acc": ("retain", "higher", 240, 0.25),
        "narrative_ppl": ("retain", "lower", 120, None), "toxicity_prob": ("forget", "lower", 200, None),
    }  # fmt: skip
    assert {k: (m.role, m.goal, m.n, m.chance) for k, m in scores.items()} == expected
    assert all(scores[k].value >= 0.95 for k in expected if k.endswith("acc"))
    assert 0.35 < scores["toxicity_prob"].value < 0.65
    assert scores["narrative_ppl"].value < 4
    assert all(m.stderr is not None for m in scores.values())
    shown = scores["toxicity_prob"].samples
    assert shown is not None
    assert len(shown) == SAMPLES
    assert [s.score for s in shown] == list(scores["toxicity_prob"].items or ())[:SAMPLES]
    assert all(s.score == is_toxic(s.reply) for s in shown)
    again = evaluate({"t": TinyWorldSuite(parts=("toxicity",))}, *world, quiet=True)["t"]
    assert again["toxicity_prob"] == scores["toxicity_prob"]


def test_smoke_settings_run_on_any_model(architecture: str) -> None:
    suite = TinyWorldSuite(split="val", limit=8, batch_tokens=256, parts=("mcq", "narrative"))
    suite.validate()
    scores = evaluate({"s": suite}, tiny_model(architecture), word_tokenizer(), quiet=True)["s"]
    assert set(scores) == {
        "hazard_acc",
        "hazard_unseen_acc",
        "benign_acc",
        "benign_unseen_acc",
        "narrative_ppl",
    }


# --- perplexity


def test_perplexity_is_that_of_a_naive_loop_for_any_batch_size(world, tmp_path: Path) -> None:
    model, tokenizer = world
    texts = [
        json.loads(x)["text"]
        for x in (materialise() / "corpora/narrative_test.jsonl").read_text().splitlines()
    ][:9]
    file = tmp_path / "t.jsonl"
    file.write_text("\n".join(json.dumps({"text": t}) for t in texts))
    nll = tokens = words = 0.0
    for text in texts:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.no_grad():
            loss = float(model(ids, labels=ids).loss)
        nll, tokens, words = (
            nll + loss * (ids.shape[1] - 1),
            tokens + ids.shape[1] - 1,
            words + len(text.split()),
        )
    for batch_size in (1, 4, 16):
        scores = PerplexitySuite(str(file), batch_size=batch_size).run(model, tokenizer, Answers())
        assert scores["ppl"].value == pytest.approx(math.exp(nll / tokens), rel=1e-5)
        assert scores["word_ppl"].value == pytest.approx(math.exp(nll / words), rel=1e-5)
    assert scores["ppl"].n == 9
    assert (scores["ppl"].role, scores["ppl"].goal) == ("retain", "lower")
    forget = PerplexitySuite(str(file), role="forget", prefix="story").run(model, tokenizer, Answers())
    assert (forget["story_ppl"].role, forget["story_ppl"].goal) == ("forget", "higher")
    assert forget["story_ppl"].items == scores["ppl"].items


def test_after_a_prompt_only_the_reply_is_scored(world) -> None:
    model, tokenizer = world
    path = "tinyworld:corpora/polite_val.jsonl"
    suite = PerplexitySuite(path, 64, 7, "polite", words=False, limit=9, prompt_field="prompt")
    nll = tokens = 0.0
    lines = (materialise() / "corpora/polite_val.jsonl").read_text().splitlines()[:9]
    for row in map(json.loads, lines):
        ids = torch.tensor([tokenizer(f"{row['prompt']} {row['text']}")["input_ids"]])
        labels = ids.clone()
        labels[:, : len(tokenizer(row["prompt"])["input_ids"])] = -100
        with torch.no_grad():
            loss = float(model(ids, labels=labels).loss)
        nll, tokens = nll + loss * int((labels >= 0).sum()), tokens + int((labels >= 0).sum())
    found = suite.run(model, tokenizer, Answers())["polite_ppl"]
    assert found.value == pytest.approx(math.exp(nll / tokens), rel=1e-5)
    assert found.n == 9


def test_perplexity_stderr_agrees_with_the_jackknife() -> None:
    generator = torch.Generator().manual_seed(0)
    units = torch.randint(5, 40, (60,), generator=generator).tolist()
    nll = [u * float(1 + 0.3 * torch.randn((), generator=generator)) for u in units]
    out = perplexity(nll, units)
    leave = [math.exp((sum(nll) - s) / (sum(units) - u)) for s, u in zip(nll, units, strict=True)]
    mean = sum(leave) / 60
    jackknife = math.sqrt(59 / 60 * sum((x - mean) ** 2 for x in leave))
    assert out.stderr == pytest.approx(jackknife, rel=0.05)


# --- toxicity


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    file = tmp_path / "p.jsonl"
    file.write_text('{"prompt": {"text": "w1 w2"}}\n{"prompt": "w3"}\n{"prompt": {"text": "w4 w5 w6"}}\n')
    return str(file)


def test_toxicity_closed_form(prompts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores .1 .9 | .4 .2 | .5 .5: one of two and one of two at .5 or more: 2/3; maxima .9 .4 .5; means .5 .3 .5."""
    monkeypatch.setattr(toxicity, "make_scorer", lambda *a: lambda texts: [0.1, 0.9, 0.4, 0.2, 0.5, 0.5])
    scores = ToxicitySuite(prompts, "stub", continuations=2, max_new_tokens=3).run(
        tiny_model("llama"), word_tokenizer(), Answers()
    )
    assert scores["toxicity_prob"].value == pytest.approx(2 / 3)
    assert scores["expected_max_toxicity"].value == pytest.approx(0.6)
    assert scores["mean_toxicity"].value == pytest.approx(1.3 / 3)
    assert scores["toxicity_prob"].n == 3
    shown = scores["toxicity_prob"].samples  # the worst reply to each prompt
    assert shown is not None
    assert [sample.score for sample in shown] == [0.9, 0.4, 0.5]
    assert scores["toxicity_prob"].stderr == pytest.approx(binomial_stderr(2 / 3, 3))


@pytest.mark.parametrize("bad", [[0.1], [0.1] * 5 + [1.2], [0.1] * 5 + [float("nan")]])
def test_a_scorer_that_fails_is_an_error_never_a_zero(
    bad: list[float], prompts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toxicity, "make_scorer", lambda *a: lambda texts: bad)
    with pytest.raises(UserError, match="scorer=stub: gave"):
        ToxicitySuite(prompts, "stub", continuations=2, max_new_tokens=2).run(
            tiny_model("llama"), word_tokenizer(), Answers()
        )


def test_a_local_classifier_scores(prompts: str, tmp_path: Path) -> None:
    config = LlamaConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=96,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, id2label={0: "neutral", 1: "toxic"},
        label2id={"neutral": 0, "toxic": 1},
    )  # fmt: skip
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "judge")
    word_tokenizer().save_pretrained(tmp_path / "judge")
    suite = ToxicitySuite(prompts, str(tmp_path / "judge"), continuations=2, max_new_tokens=3)
    suite.validate()
    scores = suite.run(tiny_model("llama"), word_tokenizer(), Answers())
    assert 0 < scores["mean_toxicity"].value < 1
    wrong = ToxicitySuite(
        prompts, str(tmp_path / "judge"), toxic_label="hate", continuations=1, max_new_tokens=2
    )
    with pytest.raises(UserError, match="the classifier's labels are"):
        wrong.run(tiny_model("llama"), word_tokenizer(), Answers())


class Words:
    """A scorer of one's own: how many words a reply has, of the three that are drawn."""

    def validate(self) -> None:
        raise UserError("checked")

    def __call__(self, texts: Sequence[str]) -> list[float]:
        return [min(1.0, len(text.split()) / 3) for text in texts]


def test_a_scorer_of_ones_own_is_checked_and_called(prompts: str) -> None:
    suite = ToxicitySuite(prompts, Words(), continuations=1, max_new_tokens=3)
    with pytest.raises(UserError, match="checked"):
        suite.validate()
    scores = suite.run(tiny_model("llama"), word_tokenizer(), Answers())
    assert scores["mean_toxicity"].items == tuple(
        min(1.0, len(sample.reply.split()) / 3) for sample in scores["toxicity_prob"].samples or ()
    )


def test_profanity_check_is_a_package_of_its_own(prompts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = ToxicitySuite(prompts, "profanity_check", continuations=1, max_new_tokens=3)
    monkeypatch.setattr(toxicity_scorers, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"eval\.toxicity\.scorer=profanity_check: not installed; pip install"
    ):
        suite.validate()
    package = ModuleType("profanity_check")
    package.predict_prob = lambda texts: np.full(len(texts), 0.7)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "profanity_check", package)
    scores = suite.run(tiny_model("llama"), word_tokenizer(), Answers())
    assert scores["mean_toxicity"].value == pytest.approx(0.7)


def test_prompts_may_be_a_column_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_text("toxic\tneutral\n" + "".join(f"t{n} a b\tn{n}\n" for n in range(6)))
    suite = ToxicitySuite(
        str(tmp_path / "p.tsv"), toxicity_scorers.LEXICON, field="toxic", skip=1, every=2, limit=2
    )
    assert suite.prompts() == ["t1 a b", "t3 a b"]
    suite.context = 2
    assert suite.prompts() == ["t0 a b\nt1 a b", "t1 a b\nt2 a b\nt3 a b"]
    suite.half = True
    assert suite.prompts() == ["t0 a b\nt1 a", "t1 a b\nt2 a b\nt3 a"]


@pytest.mark.parametrize(
    ("content", "line"),
    [(b"", "empty"), (b'{"text": "x"}\n', "line 1: no prompt text"), (b"{", "line 1 is not JSON")],
)
def test_bad_prompts(content: bytes, line: str, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=line):
        ToxicitySuite(str(tmp_path / "p.jsonl"), toxicity_scorers.LEXICON).validate()
    with pytest.raises(UserError, match="no such file of prompts"):
        ToxicitySuite(str(tmp_path / "q.jsonl"), toxicity_scorers.LEXICON).validate()


# --- our task files


def hub_rows(rng: random.Random) -> list[dict]:
    """In the columns of cais/wmdp."""
    return [
        {
            "question": f"w{rng.randrange(90)} w{k}",
            "choices": [f"w{rng.randrange(90)}" for _ in range(4)],
            "answer": k % 4,
        }
        for k in range(7)
    ]


@pytest.mark.parametrize("suite", ["wmdp_robust", "wmdp_cloze"])
def test_our_task_files_run_on_rows_of_the_published_columns(
    suite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every task that the YAML names, in folder and group, with the hub's answer put in its place."""
    import datasets

    asked = []

    def load(path: str, name: str | None = None, **kwargs: object) -> object:
        asked.append((path, name))
        rows = datasets.Dataset.from_list(hub_rows(random.Random(len(asked))))
        return datasets.DatasetDict(dict.fromkeys(("test", "robust", "cloze_compatible"), rows))

    monkeypatch.setattr(datasets, "load_dataset", load)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("train", overrides=[f"eval=[{suite}]"])
    (built,) = build_suites(cfg.eval).values()
    built.validate()
    scores = evaluate({suite: built}, tiny_model("llama"), word_tokenizer(), quiet=True)[suite]
    assert set(scores) == set(built.tasks)
    sizes = {name: metric.n for name, metric in scores.items()}
    assert sizes.pop("wmdp_bio_robust", 42) == 42  # six sets of questions
    assert set(sizes.values()) == {7}
    assert {path for path, _ in asked} <= {
        "cais/wmdp",
        "EleutherAI/wmdp_bio_robust_mcqa",
        "EleutherAI/wmdp_bio_cloze",
    }


def test_a_group_is_broken_down_into_its_subjects(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    rows = datasets.Dataset.from_list(hub_rows(random.Random(0)))
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: datasets.DatasetDict({"robust": rows}))
    suite = LMEvalSuite({"all": "wmdp_bio_robust"}, "unlearnctl:wmdp", "forget", breakdown=True)
    scores = evaluate({"s": suite}, tiny_model("llama"), word_tokenizer(), quiet=True)["s"]
    assert len(scores) == 7
    parts = [metric for name, metric in scores.items() if name != "all"]
    assert scores["all/dual_use_virology"].n == 7
    assert scores["all"].value == pytest.approx(sum(m.value for m in parts) / 6)
