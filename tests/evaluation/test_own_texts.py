"""The probability of a run's own texts: equal to a plain pass over each, on texts that training reaches last."""

from __future__ import annotations

import math

import pytest
import torch

from tests.models.tiny import VOCABULARY, tiny_model
from unlearnctl.data.rows import Row
from unlearnctl.data.streams import SIDES, ForgetRetain
from unlearnctl.evaluation.evaluate import evaluate
from unlearnctl.evaluation.own_texts import OwnTexts, last_rows
from unlearnctl.results.trade_off import trade_off


def rows(first: int, count: int = 12) -> list[Row]:
    """Ragged texts, every third with a prompt of two tokens."""
    return [Row([first + n, *range(30, 33 + n % 5)], 2 * (n % 3 == 0), n) for n in range(count)]


def data(topics: tuple[str, ...] = ("all",)) -> ForgetRetain:
    sides = {side: {t: rows(13 * n + 3) for n, t in enumerate(topics)} for side in SIDES}
    return ForgetRetain(sides, 0, "right", True, 0, "")


def test_a_text_scores_the_geometric_mean_of_its_tokens() -> None:
    model = tiny_model("llama")
    found = evaluate({"texts": OwnTexts(data(), VOCABULARY, texts=5)}, model, None, quiet=True)["texts"]  # type: ignore[arg-type]
    expected = []
    for row in last_rows(data(), "forget", 5):
        with torch.no_grad():
            logp = model.eval()(torch.tensor([row.ids])).logits[0].log_softmax(-1)
        said = [logp[t - 1, row.ids[t]].item() for t in range(max(1, row.prompt), len(row.ids))]
        expected.append(math.exp(sum(said) / len(said)))
    assert found["forget_prob"].items == pytest.approx(expected, rel=1e-4)
    assert found["forget_prob"].value == pytest.approx(sum(expected) / 5, rel=1e-4)
    assert found["retain_prob"].chance == 1 / VOCABULARY


def test_a_model_that_guesses_has_forgotten_everything_and_kept_nothing() -> None:
    """The untouched model is at (0, 1); a head of zeros gives every token 1/V."""
    suites, model = {"texts": OwnTexts(data(), VOCABULARY)}, tiny_model("llama")
    model.model.norm.register_forward_hook(lambda module, given, out: torch.ones_like(out))
    with torch.no_grad():
        model.lm_head.weight.zero_()[30:40] = 0.1  # better than a guess, or there would be nothing to lose
    before = evaluate(suites, model, None, quiet=True)  # type: ignore[arg-type]
    assert before["texts"]["forget_prob"].value > 1 / VOCABULARY
    assert trade_off(before, before) == (0.0, 1.0)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    after = evaluate(suites, model, None, quiet=True)  # type: ignore[arg-type]
    assert trade_off(before, after) == pytest.approx((1.0, 0.0), abs=1e-5)


def test_training_reaches_these_texts_last() -> None:
    """Twelve texts of each topic, in turns: four steps of four draw eight of each, and the others are held out."""
    both = data(("a", "b"))
    for side in SIDES:
        held = {tuple(row.ids) for row in last_rows(both, side, 8)}
        assert len(held) == 8
        seen = set()
        for step in range(4):
            for batch in both.micro_batches(step, 4, 1):
                seen.add(tuple(batch[side].input_ids[0].tolist()))
        assert not held & seen
        assert len(held | seen) == 24
    assert len(last_rows(both, "forget", 100)) == 24


def test_a_text_without_a_scored_token_is_left_out() -> None:
    sides = {side: {"all": [Row([5], 0, 0), Row([5, 6], 0, 1)]} for side in SIDES}
    assert [row.index for row in last_rows(ForgetRetain(sides, 0, "right", True, 0, ""), "forget", 2)] == [1]
