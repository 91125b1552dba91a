"""`data.append_eos`: answers are learned with the end token, as TOFU's authors train on them (point E1)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import PreTrainedTokenizerFast

from tests.models.tiny import tiny_model
from tests.models.words import word_tokenizer
from unlearnctl.data.corpus import Corpus
from unlearnctl.data.encode import encode, with_end
from unlearnctl.data.streams import load_data
from unlearnctl.objectives.base import Outputs, View
from unlearnctl.objectives.grad_diff import GradDiff
from unlearnctl.objectives.retain import NLL
from unlearnctl.ops.logprobs import token_logprobs
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.paths import conf_dir

EOS = 2
ROWS = [{"q": f"w{i} w{i + 1}", "a": f"w{i + 2} w{i + 3}", "other": f"w{i + 4}"} for i in range(4)]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return word_tokenizer()


def config(tmp_path: Path, prompt: bool, **changes: Any) -> dict[str, Any]:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    corpus = {"path": str(file), "field": "a", "prompt_field": "q" if prompt else None}
    return {
        "name": "d", "max_length": 16, "padding_side": "right", "shuffle": False,
        "forget": {**corpus, "alternate_field": "other"}, "retain": dict(corpus), **changes,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("prompt", "asked", "ends"),
    [
        (True, {}, True),
        (True, {"append_eos": None}, True),
        (True, {"append_eos": False}, False),
        (False, {}, False),
        (False, {"append_eos": True}, True),
    ],
)
def test_where_it_is_learned(prompt: bool, asked: dict, ends: bool, tmp_path: Path, tokenizer) -> None:
    """On every side: the answer, what is retained, what should be said instead."""
    cfg = config(tmp_path, prompt, **asked)
    data = load_data(cfg, tokenizer, 0, sides=("forget", "retain", "alternate", "refusal"))
    for side in ("forget", "retain", "alternate", "refusal"):
        (rows,) = data.rows[side].values()
        assert all((row.ids[-1] == EOS) == ends for row in rows), side
        assert all(row.ids.count(EOS) <= 1 for row in rows)
    (micro,) = data.micro_batches(0, 4, 4)
    forget = micro["forget"]
    plain = load_data({**cfg, "append_eos": False}, tokenizer, 0).micro_batches(0, 4, 4)[0]["forget"]
    assert forget.predictions == plain.predictions + 4 * ends
    assert int((forget.labels == EOS).sum()) == 4 * ends


def test_not_after_a_text_that_was_cut_nor_twice() -> None:
    assert with_end([5, 6], EOS, 3) == [5, 6, EOS]
    assert with_end([5, 6, 7], EOS, 3) == [5, 6, 7]
    assert with_end([5, EOS], EOS, 3) == [5, EOS]
    assert with_end([5, 6], None, 3) == [5, 6]


def test_it_never_stands_for_a_row(tokenizer: PreTrainedTokenizerFast) -> None:
    """A row with nothing left to predict is dropped, and not kept for its end token."""
    corpus = Corpus(["w5", "w6"], ["w1 w2 w3 w4", "w1"])
    assert [row.index for row in encode(corpus, tokenizer, 5, "data.forget", end=True)] == [1]


def test_the_loss_is_that_of_a_naive_loop(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """Gradient difference on answers: one number a token in float64, the end token among them."""
    (micro,) = load_data(config(tmp_path, True), tokenizer, 0).micro_batches(0, 4, 4)
    model = tiny_model("llama").double().eval()
    views = {}
    with torch.no_grad():
        for side, batch in micro.items():
            hidden = model.model(batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
            logp = token_logprobs(model.lm_head, hidden, batch.labels, batch.attention_mask)
            views[side] = View(batch, Outputs(logprobs=logp))
        total = count = 0.0
        for row in ROWS:
            start = len(tokenizer(row["q"])["input_ids"])
            ids = [*tokenizer(f"{row['q']} {row['a']}")["input_ids"], EOS]
            logits = model(torch.tensor([ids])).logits[0]
            for place in range(start, len(ids)):
                total += float(logits[place - 1].log_softmax(-1)[ids[place]])
                count += 1
    loss = GradDiff(1.0, 1.0, NLL())(**views)
    assert count == 4 * 3
    assert loss.terms["forget"].item() == pytest.approx(total / count, rel=1e-6)
    assert loss.terms["retain"].item() == pytest.approx(-total / count, rel=1e-6)


def test_a_tokenizer_without_an_end_token(tmp_path: Path) -> None:
    endless = word_tokenizer()
    endless.eos_token = None
    line = r"^data\.append_eos=true: the tokenizer has no end token; set it to false$"
    with pytest.raises(UserError, match=line):
        load_data(config(tmp_path, True, append_eos=True), endless, 0)
    assert load_data(config(tmp_path, True), endless, 0).rows["forget"]["all"][0].ids[-1] != EOS


def test_every_shipped_config_says_it_and_the_tiny_worlds_text_is_what_it_was() -> None:
    found = {
        file.stem: yaml.safe_load(file.read_text())["append_eos"]
        for file in (conf_dir() / "data").glob("*.yaml")
    }
    assert {name for name, value in found.items() if value is False} == {
        "tinyworld_toxic",
        "tinyworld_hazard_toxic",
    }
    assert all(value is None for value in found.values() if value is not False)
