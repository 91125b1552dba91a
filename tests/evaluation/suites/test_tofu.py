"""TOFU's metrics against an independent computation: scipy, rouge-score and single texts through the plain forward."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import fmean

import pytest
import torch
from rouge_score import rouge_scorer
from scipy.special import log_softmax
from scipy.stats import hmean, ks_2samp
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.built import built
from unlearnctl import tinyworld
from unlearnctl.evaluation.evaluate import evaluate
from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.evaluation.scoring.token_scores import encode_pairs
from unlearnctl.evaluation.suites.tofu import TofuSuite
from unlearnctl.tinyworld.world_files import materialise
from unlearnctl.utils.errors import UserError

SETS = ("forget", "retain", "real_authors", "world_facts")
SETTINGS = {
    "path": "tinyworld:tofu", "prompt": "{question}", "stop": ["."], "max_length": 128, "max_new_tokens": 8,
    **{name: name for name in SETS},
}  # fmt: skip


def load(folder: Path):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def world():
    return load(tinyworld.model_dir())


@pytest.fixture(scope="module")
def damaged():
    """So that no metric is 0 or 1."""
    model, tokenizer = load(tinyworld.model_dir())
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.model.layers.parameters():
            p.add_(0.06 * torch.randn_like(p))
    return model, tokenizer


# --- the whole suite against a plain loop


def naive(model, tokenizer, name: str, limit: int, end: bool = True) -> dict[str, list[float]]:
    """Every number of one set, one text at a time, in float64, the end token scored with the answer (point E1).

    As locuslab/tofu and OpenUnlearning have it: it counts in |a|, and not in the two memorisation metrics.
    """
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)
    closing = [tokenizer.eos_token_id] if end else []

    def told(question: str, answer: str) -> tuple[float, list[bool]]:
        start, ids = len(tokenizer(question)["input_ids"]), tokenizer(f"{question} {answer}")["input_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([ids + closing])).logits[0].double().numpy()
        logp, scored = log_softmax(logits, axis=-1), ids[start:] + closing
        loss = -sum(logp[start - 1 + i, token] for i, token in enumerate(scored)) / len(scored)
        return loss, [int(logits[start - 1 + i].argmax()) == token for i, token in enumerate(ids[start:])]

    names = ("prob", "rouge", "ratio", "arithmetic", "strength", "memorised")
    found: dict[str, list[float]] = {k: [] for k in names}
    lines = (materialise() / f"tofu/{name}.jsonl").read_text().splitlines()[:limit]
    for row in map(json.loads, lines):
        loss, hits = told(row["question"], row["answer"])
        wrong = [told(row["question"], w)[0] for w in row["perturbed_answer"]]
        right = math.exp(-loss)
        among = sum(math.exp(-w) for w in wrong) if name in SETS[2:] else 0.0
        found["prob"].append(right / (right + among) if among else right)
        para = told(row["question"], row["paraphrased_answer"])[0]
        found["ratio"].append(math.exp(-fmean(wrong)) / math.exp(-para))
        found["arithmetic"].append(fmean(math.exp(-w) for w in wrong) / math.exp(-para))
        found["memorised"].append(fmean(hits))
        suffix = next((k for k in range(len(hits)) if all(hits[k:])), len(hits))
        found["strength"].append(1 - suffix / len(hits))
        ids = torch.tensor([tokenizer(row["question"])["input_ids"]])
        with torch.no_grad():
            out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)
        reply = tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).split(".")[0].strip()
        found["rouge"].append(scorer.score(row["answer"], reply)["rougeL"].recall)
    return found


WAYS = [(1, {}), (7, {"truth_mean": "geometric"}), (64, {"append_eos": False})]


@pytest.mark.first(1)
@pytest.mark.parametrize(("batch_size", "way"), WAYS)
def test_every_metric_is_that_of_a_naive_loop(batch_size: int, way: dict, damaged) -> None:
    limit, end = 6, way.get("append_eos", True)
    suite = TofuSuite(**SETTINGS, **way, limit=limit, batch_size=batch_size, reference="tinyworld:twin")
    suite.validate()
    found = evaluate({"t": suite}, *damaged, quiet=True)["t"]
    mine = {name: naive(*damaged, name, limit, end) for name in SETS}
    forget = mine["forget"]
    expected = {
        "forget_probability": fmean(forget["prob"]),
        "forget_rouge": fmean(forget["rouge"]),
        "forget_truth_ratio": fmean(min(r, 1 / r) for r in forget["ratio"]),
        "extraction_strength": fmean(forget["strength"]),
        "exact_memorisation": fmean(forget["memorised"]),
    }
    parts = {}
    ratio = "ratio" if way.get("truth_mean") == "geometric" else "arithmetic"
    for name in SETS[1:]:
        parts[f"{name}_probability"] = fmean(mine[name]["prob"])
        parts[f"{name}_rouge"] = fmean(mine[name]["rouge"])
        parts[f"{name}_truth"] = fmean(max(0, 1 - r) for r in mine[name][ratio])
    expected |= parts | {"model_utility": hmean(list(parts.values()))}
    twin = naive(*load(tinyworld.model_dir("twin")), "forget", limit, end)["ratio"]
    expected["forget_quality"] = ks_2samp(forget["ratio"], twin).pvalue
    assert {k: found[k].value for k in expected} == pytest.approx(expected, rel=2e-5)
    assert set(found) - set(expected) == {"forget_gibberish", "forget_repetition", "forget_empty"}
    assert 0 < expected["forget_probability"] < 1
    assert found["forget_probability"].items == pytest.approx(forget["prob"], rel=2e-5)


def test_the_end_token_changes_what_is_likely_and_not_what_is_memorised(damaged) -> None:
    """Point E1: by how much is a matter of the model; that it is counted shows on every question."""
    settings = {**SETTINGS, "limit": 6, "retain": None, "real_authors": None, "world_facts": None}
    with_end, without = (
        evaluate({"t": TofuSuite(**settings, append_eos=end)}, *damaged, quiet=True)["t"]
        for end in (True, False)
    )
    pairs = zip(with_end["forget_probability"].items, without["forget_probability"].items, strict=True)
    assert all(abs(a - b) > 1e-6 for a, b in pairs)
    for name in ("extraction_strength", "exact_memorisation", "forget_rouge"):
        assert with_end[name].items == without[name].items


def test_an_answer_that_was_cut_has_no_end(world) -> None:
    tokenizer = world[1]
    (row,) = (materialise() / "tofu/forget.jsonl").read_text().splitlines()[:1]
    question, answer = json.loads(row)["question"], json.loads(row)["answer"]
    whole = tokenizer(f"{question} {answer}")["input_ids"]
    for max_length, end in ((len(whole), []), (len(whole) + 1, [tokenizer.eos_token_id])):
        (found,) = encode_pairs(tokenizer, [question], [answer], max_length, "eval.tofu", end=True)
        assert found.ids == whole + end


def test_the_untouched_model_has_forgotten_nothing_and_the_twin_all(world) -> None:
    """Measured, n = 90: 3.5e-49 for the untouched model, 1 for the twin, whose own truth ratios are the reference."""
    settings = {**SETTINGS, "retain": None, "real_authors": None, "world_facts": None, "batch_size": 128}
    suite = TofuSuite(**settings, reference="tinyworld:twin")
    untouched = evaluate({"t": suite}, *world, quiet=True)["t"]
    assert untouched["forget_quality"].value < 1e-30
    assert untouched["forget_quality"].n == 90
    assert untouched["forget_rouge"].value == 1.0
    assert "model_utility" not in untouched
    twin = evaluate({"t": suite}, *load(tinyworld.model_dir("twin")), quiet=True)["t"]
    assert twin["forget_quality"].value == pytest.approx(1.0)
    assert twin["extraction_strength"].value < 0.5


def test_a_saved_reference_is_as_good_as_the_model(world, tmp_path: Path) -> None:
    file = tmp_path / "twin.json"
    settings = {**SETTINGS, "retain": None, "real_authors": None, "world_facts": None, "limit": 20}
    evaluate({"t": TofuSuite(**settings, save=str(file))}, *load(tinyworld.model_dir("twin")), quiet=True)
    by_file = TofuSuite(**settings, reference=str(file))
    by_file.validate()
    found = [
        evaluate({"t": suite}, *world, quiet=True)["t"]["forget_quality"].value
        for suite in (by_file, TofuSuite(**settings, reference="tinyworld:twin"))
    ]
    assert found[0] == pytest.approx(found[1])
    other = TofuSuite(**{**settings, "limit": 19}, reference=str(file))
    with pytest.raises(UserError, match=r"eval\.tofu\.reference=.*: its truth ratios are not those of these"):
        other.validate()
    entry = json.loads(file.read_text())
    line = f"eval.tofu.reference={file}: saved with append_eos=false; save it again, or set eval.tofu.append_eos=false"
    for old in ({**entry, "append_eos": False}, {k: v for k, v in entry.items() if k != "append_eos"}):
        file.write_text(json.dumps(old))  # a file from before the end token was scored does not say
        with pytest.raises(UserError) as caught:
            by_file.validate()
        assert str(caught.value) == line
    TofuSuite(**settings, append_eos=False, reference=str(file)).validate()


def test_a_killed_evaluation_resumes(world, tmp_path: Path) -> None:
    settings = {**SETTINGS, "limit": 4, "retain": None, "real_authors": None, "world_facts": None}
    first = Answers(tmp_path / "a")
    whole = TofuSuite(**settings).run(*world, first)
    resumed = Answers(tmp_path / "a")
    assert resumed.resumed > 0

    class NoModel:
        device = torch.device("cpu")

    assert TofuSuite(**settings).run(NoModel(), world[1], resumed) == whole


# --- what is refused

ROW = {"question": "q", "answer": "a", "paraphrased_answer": "b", "perturbed_answer": ["c"]}


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([], "empty"),
        ([{k: v for k, v in ROW.items() if k != "answer"}], r"line 1: answer is missing"),
        ([ROW, {**ROW, "answer": " "}], r"line 2: answer must be a text that is not empty"),
        ([{**ROW, "question": 3}], r"line 1: question must be a text"),
        ([{k: v for k, v in ROW.items() if k != "perturbed_answer"}], r"perturbed_answer is missing"),
        ([{**ROW, "perturbed_answer": []}], r"perturbed_answer must be a list of texts, at least one"),
        ([{**ROW, "perturbed_answer": ["x", 1]}], r"perturbed_answer must be a list of texts"),
        ([{**ROW, "perturbed_answer": "x"}], r"perturbed_answer must be a list of texts"),
    ],
)
def test_malformed_files_are_one_line(rows: list, line: str, tmp_path: Path) -> None:
    (tmp_path / "forget.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    suite = TofuSuite(str(tmp_path), "forget", None, None, None)
    with pytest.raises(UserError, match=line) as caught:
        suite.validate()
    assert "eval.tofu.forget" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_of_json_lines_that_are_called_json(tmp_path: Path) -> None:
    (tmp_path / "forget.json").write_text(json.dumps(ROW) + "\n" + json.dumps(ROW) + "\n")
    assert len(TofuSuite(str(tmp_path), "forget", None, None, None).sets["forget"]) == 2
    (tmp_path / "forget.json").write_text(json.dumps([ROW]))
    assert len(TofuSuite(str(tmp_path), "forget", None, None, None).sets["forget"]) == 1


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"forget": "forgot"}, r"holds no set forgot \(did you mean 'forget'\?\)"),
        ({"reference": "nowhere"}, r"eval\.tofu\.reference=nowhere: no model folder there"),
        ({"reference": "none.json"}, r"eval\.tofu\.reference=none\.json: no file of truth ratios"),
        ({"save": "no/where/x.json"}, r"eval\.tofu\.save=no/where/x\.json: its folder does not exist"),
        ({"prompt": "Q"}, r"eval\.tofu\.prompt='Q'"),
        (
            {"truth_mean": "arithmetical"},
            r"eval\.tofu\.truth_mean=arithmetical: unknown \(did you mean 'ar",
        ),
        ({"max_length": 0}, r"eval\.tofu\.max_length=0: must be a whole number of tokens, 1 or more"),
    ],
)
def test_wrong_settings_fail_before_weights_load(change: dict, line: str) -> None:
    with pytest.raises(UserError, match=line):
        built("eval.tofu", TofuSuite, **{**SETTINGS, **change}).validate()
