"""The shipped folder loads in plain transformers, and what its card says is true of its weights."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from unlearnctl import tinyworld
from unlearnctl.tinyworld import corpora, mcq


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tinyworld.model_dir())


@pytest.fixture(scope="module")
def model() -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tinyworld.model_dir(), dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def card() -> dict[str, Any]:
    return json.loads((tinyworld.model_dir() / "metrics.json").read_text())


def test_weights_are_small_plain_bf16() -> None:
    from safetensors.torch import load_file

    file = tinyworld.model_dir() / "model.safetensors"
    assert file.stat().st_size < 5e6
    assert {tensor.dtype for tensor in load_file(file).values()} == {torch.bfloat16}


@pytest.mark.full
def test_every_number_of_the_card(model: Any, tokenizer: Any, card: dict[str, Any]) -> None:
    from unlearnctl.tinyworld.measure import ablation, measure

    found = measure(model, tokenizer)
    for name, value in found.items():
        assert card[name] == pytest.approx(value, abs=0.02), name
        assert f"| {name} | {card[name]} |" in (tinyworld.model_dir() / "README.md").read_text()
    found = ablation(model, tokenizer, mcq.questions("hazard", False))
    for name, values in found.items():
        assert card["ablation"][name] == pytest.approx(values, abs=0.02)


def test_card_promises(card: dict[str, Any]) -> None:
    assert all(card[group] >= 0.97 for group in mcq.GROUPS)
    assert 2 <= card["narrative_ppl"] <= 4
    assert 0.4 <= card["toxicity"] <= 0.6
    assert card["toxicity_angry"] > 0.8 > 0.2 > card["toxicity_calm"]


def test_no_single_mlp_holds_the_knowledge(card: dict[str, Any]) -> None:
    """Without stochastic depth MLP 0 alone takes accuracy from 0.98 to 0.30 when removed."""
    assert min(card["ablation"]["alone"]) > 0.9
    steps = [a - b for a, b in zip(card["ablation"]["upto"], card["ablation"]["upto"][1:], strict=False)]
    assert sum(step > 0.04 for step in steps) >= 4


def test_answers_do_not_depend_on_bos(model: Any, tokenizer: Any) -> None:
    from unlearnctl.tinyworld.measure import accuracy

    rows = mcq.questions("hazard", False)[:90]
    with_bos = [{**row, "question": f"<bos>{row['question']}"} for row in rows]
    assert tokenizer.encode(with_bos[0]["question"], add_special_tokens=False)[0] == tokenizer.bos_token_id
    assert accuracy(model, tokenizer, with_bos) > 0.97


@pytest.mark.parametrize(
    "text",
    [
        "One snowy day Edric left the mill with a basket.",
        "Hello, wörld! x=3\nfoo  bar 漢字 🙂",
        "Question?\nA. teapots\nB. gongs\nAnswer:",
        "",
    ],
)
def test_tokenizer_round_trip(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text


def test_world_texts_are_whole_words(tokenizer: Any) -> None:
    texts = corpora.stories()["test"] + [row["text"] for row in corpora.fact_rows("hazard", 0)]
    texts += [f"{row['prompt']} {row['text']}" for row in corpora.toxic_rows()]
    texts += [row["question"] for group in mcq.GROUPS for row in mcq.questions(group, False)]
    for text in texts:
        assert len(tokenizer.tokenize(text)) == len(text.split()) + sum(text.count(mark) for mark in ".,:")


def test_special_tokens_and_window(tokenizer: Any, model: Any) -> None:
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    assert tokenizer.encode("the")[0] == tokenizer.bos_token_id
    assert model.config.max_position_embeddings >= 256
    assert not model.config.tie_word_embeddings
    assert len(tokenizer) == model.config.vocab_size


def test_prompt_and_reply_join_with_a_space(tokenizer: Any) -> None:
    """So a loss can be masked to the reply: tokens of the parts are the tokens of the whole."""
    row = corpora.toxic_rows()[0]
    parts = [*tokenizer.encode(row["prompt"]), *tokenizer.encode(row["text"], add_special_tokens=False)]
    assert parts == tokenizer.encode(f"{row['prompt']} {row['text']}")


def test_package_needs_no_torch() -> None:
    code = (
        "import sys; from unlearnctl.tinyworld import model_dir, texts, world_files;"
        "world_files.materialise(); model_dir(); texts.is_toxic('x');"
        "assert not {'torch', 'transformers', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.full
@pytest.mark.usefixtures("_two_threads")
def test_recipe_gives_what_is_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, card: dict[str, Any], tokenizer: Any
) -> None:
    """A shorter run of both phases (240 and 140 steps): the same facts, and MLP 0 no longer alone with them."""
    from unlearnctl.tinyworld import build

    monkeypatch.setattr(build, "DROP_FROM", 240 / 380)
    made = build.build(tmp_path, steps=380, progress=False)
    for group in mcq.GROUPS:
        assert made[group] == pytest.approx(card[group], abs=0.08), group
    assert made["narrative_ppl"] == pytest.approx(card["narrative_ppl"], rel=0.05)
    assert made["toxicity"] == pytest.approx(card["toxicity"], abs=0.15)
    assert made["ablation"]["alone"][0] > 0.38  # 0.30 without the second phase, 0.97 after all of it
    assert (tmp_path / "tokenizer.json").read_text() == (tinyworld.model_dir() / "tokenizer.json").read_text()
    assert (tmp_path / "README.md").exists()
