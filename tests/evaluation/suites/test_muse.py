"""MUSE's metrics: closed forms, rouge-score and scikit-learn as references, the whole tiny world."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from statistics import fmean

import pytest
import torch
from rouge_score import rouge_scorer
from sklearn.metrics import roc_auc_score
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.built import built
from unlearnctl import tinyworld
from unlearnctl.evaluation.evaluate import evaluate
from unlearnctl.evaluation.suites.membership import auc
from unlearnctl.evaluation.suites.muse import MuseSuite, privleak
from unlearnctl.tinyworld.world_files import materialise
from unlearnctl.utils.errors import UserError

SETTINGS = {
    "path": "tinyworld:muse", "prompt": "{question}", "stop": ["."], "max_length": 128, "verbatim_tokens": 8,
    "max_new_tokens": 4, "batch_size": 64,
}  # fmt: skip


def load(folder: Path):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


def test_privleak_is_zero_for_the_reference_and_minus_100_for_one_that_knows_all() -> None:
    """Reference AUC ½. Everything known: (0 − ½)/½; nothing looks familiar any more: (1 − ½)/½."""
    half, known, hidden = auc([1, 2], [1, 2]), auc([3, 4], [1, 2]), auc([1, 2], [3, 4])
    assert [privleak(m, half).value for m in (half, known, hidden)] == [0, -100, 100]
    assert math.isnan(privleak(half, known).value)
    assert privleak(half, half).goal == "chance"


def test_metrics_are_those_of_a_naive_loop_for_any_batch_size() -> None:
    model, tokenizer = load(tinyworld.model_dir())
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.model.layers.parameters():
            p.add_(0.04 * torch.randn_like(p))
    limit, scorer = 12, rouge_scorer.RougeScorer(["rougeL"])

    def rows(name: str) -> list[dict]:
        lines = (materialise() / f"muse/{name}.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines[:limit]]

    def reply(prompt: str, tokens: int) -> str:
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        with torch.no_grad():
            out = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False
            )
        return tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)

    def min_k(text: str) -> float:
        ids = tokenizer(text)["input_ids"]
        with torch.no_grad():
            logp = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        tokens = sorted(float(logp[t - 1, ids[t]]) for t in range(1, len(ids)))
        return fmean(tokens[: int(0.4 * len(tokens))])

    expected = {
        f"knowledge_{side}": fmean(
            scorer.score(r["answer"], reply(r["question"], 4).split(".")[0])["rougeL"].fmeasure
            for r in rows(f"knowmem/{side}_qa")
        )
        for side in ("forget", "retain")
    }
    expected["verbatim"] = fmean(  # the truth is one token long, and so is what it is compared with
        scorer.score(r["gt"], reply(r["prompt"], 1))["rougeL"].fmeasure for r in rows("verbmem/forget")
    )
    known, unknown = ([min_k(r["text"]) for r in rows(f"privleak/{n}")] for n in ("forget", "holdout"))
    expected["min_k_auc"] = roc_auc_score([1] * limit + [0] * limit, known + unknown)
    for batch_size in (1, 5, 64):
        suite = MuseSuite(**{**SETTINGS, "batch_size": batch_size}, limit=limit)
        suite.validate()
        found = evaluate({"m": suite}, model, tokenizer, quiet=True)["m"]
        assert {k: found[k].value for k in expected} == pytest.approx(expected)
    assert 0 < expected["knowledge_retain"] < 1


def test_the_untouched_model_leaks_and_the_twin_does_not() -> None:
    """Measured, n = 90 a side: −94.8 against 0."""
    suite = MuseSuite(**SETTINGS, reference="tinyworld:twin")
    suite.validate()
    untouched = evaluate({"m": suite}, *load(tinyworld.model_dir()), quiet=True)["m"]
    twin = evaluate({"m": suite}, *load(tinyworld.model_dir("twin")), quiet=True)["m"]
    assert untouched["privleak"].value < -85
    assert untouched["verbatim"].value == untouched["knowledge_forget"].value == 1.0
    assert twin["privleak"].value == pytest.approx(0)
    assert twin["verbatim"].value < 0.3
    assert twin["knowledge_retain"].value > 0.9


def test_examples_come_first(tmp_path: Path) -> None:
    shutil.copytree(materialise() / "muse", tmp_path / "muse")
    settings = {
        **SETTINGS,
        "path": str(tmp_path / "muse"),
        "prompt": "Q: {question} A:",
        "icl": True,
        "limit": 2,
    }
    with pytest.raises(UserError, match=r"forget_qa_icl"):
        MuseSuite(**settings).validate()
    for side in ("forget", "retain"):
        file = tmp_path / "muse" / "knowmem" / f"{side}_qa_icl.jsonl"
        file.write_text('{"question": "a", "answer": "b"}\n{"question": "c", "answer": "d"}\n')
    model, tokenizer = load(tinyworld.model_dir())
    seen: list[str] = []
    suite = MuseSuite(**settings)

    class Spy(type(tokenizer)):  # type: ignore[misc]
        def __call__(self, text, *args, **kwargs):
            seen.extend([text] if isinstance(text, str) else text)
            return super().__call__(text, *args, **kwargs)

    evaluate({"m": suite}, model, Spy.from_pretrained(tinyworld.model_dir()), quiet=True)
    question = suite.sets["forget_qa"][0]["question"]
    assert f"Q: a A: b\n\nQ: c A: d\n\nQ: {question} A:" in seen


@pytest.mark.parametrize(
    ("file", "content", "line"),
    [
        ("verbmem/forget.jsonl", '{"prompt": "x"}\n', r"eval\.muse\.verbmem: .*gt is missing"),
        ("knowmem/forget_qa.jsonl", "", r"eval\.muse\.forget_qa\.path=.*: knowmem is empty"),
        ("privleak/holdout.jsonl", '{"text": 3}\n', r"eval\.muse\.holdout: .*text must be a text"),
        ("privleak/forget.jsonl", "{", r"eval\.muse\.forget\.path=.*line 1 is not JSON"),
    ],
)
def test_malformed_files_are_one_line(file: str, content: str, line: str, tmp_path: Path) -> None:
    shutil.copytree(materialise() / "muse", tmp_path / "muse")
    (tmp_path / "muse" / file).write_text(content)
    with pytest.raises(UserError, match=line):
        MuseSuite(**{**SETTINGS, "path": str(tmp_path / "muse")}).validate()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"k": 2.0}, r"eval\.muse\.k=2\.0"),
        ({"qa_part": "recal"}, r"eval\.muse\.qa_part=recal: unknown \(did you mean 'recall'\?\)"),
        ({"verbatim_tokens": 0}, r"eval\.muse\.verbatim_tokens=0"),
        ({"reference": "x"}, r"eval\.muse\.reference=x: no model folder"),
    ],
)
def test_wrong_settings_fail_before_weights_load(change: dict, line: str) -> None:
    with pytest.raises(UserError, match=line):
        built("eval.muse", MuseSuite, **{**SETTINGS, **change}).validate()
