"""RWKU's metrics: single questions against the batch, targets, types; the whole tiny world."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from statistics import fmean

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from unlearnctl import tinyworld
from unlearnctl.evaluation.evaluate import evaluate
from unlearnctl.evaluation.suites.rwku import RwkuSuite
from unlearnctl.tinyworld.world_files import materialise
from unlearnctl.utils.errors import UserError

SETTINGS = {
    "path": "tinyworld:rwku", "blank": "{question}", "prompt": "{question}", "chat": False, "stop": ["."],
    "max_length": 128, "max_new_tokens": 4, "batch_size": 64,
}  # fmt: skip


def load(folder: Path):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


def rows(name: str) -> list[dict]:
    return [json.loads(x) for x in (materialise() / f"rwku/{name}.jsonl").read_text().splitlines()]


def test_metrics_are_those_of_a_naive_loop_for_any_batch_size() -> None:
    model, tokenizer = load(tinyworld.model_dir())
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.model.layers.parameters():
            p.add_(0.04 * torch.randn_like(p))

    def right(row: dict) -> float:
        ids = torch.tensor([tokenizer(row["query"])["input_ids"]])
        with torch.no_grad():
            out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, do_sample=False)
        words = (
            tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).split(".")[0].lower().split()
        )
        return float(row["answer"].lower() in words)

    def nll(text: str) -> float:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.no_grad():
            return float(model(ids, labels=ids).loss)

    names = ("forget_level1", "forget_level2", "forget_level3", "neighbor_level1", "neighbor_level2")
    expected = {name: fmean(right(r) for r in rows(name)[:10]) for name in names}
    expected |= {
        f"{n}_loss": fmean(nll(r["text"]) for r in rows(n)[:10]) for n in ("mia_forget", "mia_retain")
    }
    for batch_size in (1, 7):
        suite = RwkuSuite(**{**SETTINGS, "batch_size": batch_size}, limit=10)
        suite.validate()
        found = evaluate({"r": suite}, model, tokenizer, quiet=True)["r"]
        assert {k: found[k].value for k in expected} == pytest.approx(expected, rel=1e-4)
    assert 0 < expected["forget_level1"] < 1
    assert (found["forget_level1"].goal, found["neighbor_level1"].goal) == ("lower", "higher")
    assert (found["mia_forget_loss"].goal, found["mia_retain_loss"].goal) == ("higher", "lower")


def test_targets_and_types() -> None:
    subject = rows("forget_level1")[0]["subject"]
    suite = RwkuSuite(
        **{k: v for k, v in SETTINGS.items() if k != "path"}, path="tinyworld:rwku", by_type=True
    )
    assert {r["type"] for r in suite.sets["forget_level3"]} == {"incontext learning", "prefix injection"}
    found = evaluate({"r": suite}, *load(tinyworld.model_dir("twin")), quiet=True)["r"]
    kinds = [found[f"forget_level3_{kind}"] for kind in ("incontext_learning", "prefix_injection")]
    assert found["forget_level3"].value == pytest.approx(fmean(m.value for m in kinds))
    assert found["forget_level2"].value < 0.3  # the twin never read them
    assert found["neighbor_level2"].value > 0.9
    nobody = RwkuSuite(**SETTINGS, subjects=[subject[:-1]])
    with pytest.raises(UserError, match=rf"subjects={subject[:-1]}: unknown \(did you mean '{subject}'"):
        nobody.validate()


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("forget_level1", '{"query": "x"}\n', r"eval\.rwku\.forget_level1: .*answer is missing"),
        ("neighbor_level2", "", r"eval\.rwku\.neighbor_level2\.path=.*is empty"),
        ("mia_forget", '{"text": ""}\n', r"eval\.rwku\.mia_forget: .*text must be a text that is not empty"),
    ],
)
def test_malformed_files_are_one_line(name: str, content: str, line: str, tmp_path: Path) -> None:
    shutil.copytree(materialise() / "rwku", tmp_path / "rwku")
    (tmp_path / "rwku" / f"{name}.jsonl").write_text(content)
    with pytest.raises(UserError, match=line):
        RwkuSuite(**{**SETTINGS, "path": str(tmp_path / "rwku")}).validate()


def test_a_set_that_is_missing(tmp_path: Path) -> None:
    shutil.copytree(materialise() / "rwku", tmp_path / "rwku")
    (tmp_path / "rwku" / "mia_retain.jsonl").unlink()
    with pytest.raises(UserError, match=r"holds no set mia_retain"):
        RwkuSuite(**{**SETTINGS, "path": str(tmp_path / "rwku")}).validate()


def test_chat_without_a_template_is_refused_before_anything_is_asked() -> None:
    suite = RwkuSuite("tinyworld:rwku", limit=2)
    suite.validate()
    with pytest.raises(UserError, match=r"eval\.rwku\.chat=true: the tokenizer has no chat template"):
        evaluate({"r": suite}, *load(tinyworld.model_dir()), quiet=True)
