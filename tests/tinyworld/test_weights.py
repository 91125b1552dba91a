"""The shipped folder loads in plain transformers, and what its card says is true of its weights."""

from __future__ import annotations

import json
import subprocess
import sys
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


GOLDEN = Path(__file__).parent.parent / "golden" / "recipe.json"


@pytest.mark.full
def test_the_recipe_is_the_one_that_made_the_shipped_weights(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty steps over both phases: each loss as golden/recipe.json keeps it.

    A whole build takes three minutes of two cores, and other processors round otherwise, so its scores could only be
    compared within 0.08. A loss shows a change of data, order, weights of tokens, schedule or dropped MLPs at once.
    """
    from unlearnctl.tinyworld import build

    losses: list[float] = []
    loss_of = build.cross_entropy

    def kept(*args: Any, **kwargs: Any) -> torch.Tensor:
        losses.append((loss := loss_of(*args, **kwargs)).item())
        return loss

    monkeypatch.setattr(build, "cross_entropy", kept)
    model = build.new_model(len(tokenizer), seed=0)
    build.pretrain(model, tokenizer, seed=0, steps=20, progress=False)
    assert losses == pytest.approx(json.loads(GOLDEN.read_text())["losses"], rel=1e-3)
    before = len(losses)
    monkeypatch.setattr(build, "drop_mlps", lambda model, seed: [])
    build.pretrain(build.new_model(len(tokenizer), seed=0), tokenizer, seed=0, steps=20, progress=False)
    first = int(build.DROP_FROM * 20)
    plain = losses[before:]
    assert plain[:first] == losses[:first]
    assert all(
        a != pytest.approx(b, rel=1e-3) for a, b in zip(plain[first:], losses[first:before], strict=True)
    )
