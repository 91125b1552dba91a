"""Token scores against single texts in plain loops; greedy replies for any batch size; what cannot be scored."""

from __future__ import annotations

import math

import pytest
import torch

from tests.models.tiny import tiny_model
from tests.models.words import word_tokenizer
from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.evaluation.scoring.token_scores import Prompt, cut, encode_pairs, greedy_replies, score_rows
from unlearnctl.ops.sequence_scores import token_scores
from unlearnctl.utils.errors import UserError

PAIRS = [("w1 w2", "w3 w4 w5"), ("", "w6 w7"), ("w1", "w2 w3 w4 w5 w6 w7 w8 w9"), ("w9 w8 w7", "w1")]


def test_closed_form_on_two_tokens() -> None:
    """p = (3/4, 1/4): mean = ¾ log ¾ + ¼ log ¼, variance = ¾·¼·(log 3)², whichever is the target."""
    logits = torch.tensor([[math.log(3.0), 0.0], [math.log(3.0), 0.0]])
    logp, hit, mean, std = token_scores(logits, torch.tensor([0, 1]), chunk=1)
    assert logp.tolist() == pytest.approx([math.log(0.75), math.log(0.25)])
    assert hit.tolist() == [True, False]
    assert mean.tolist() == pytest.approx([0.75 * math.log(0.75) + 0.25 * math.log(0.25)] * 2)
    assert std.tolist() == pytest.approx([math.sqrt(3 / 16) * math.log(3)] * 2)


def test_a_certain_token_has_no_spread() -> None:
    *_, std = token_scores(torch.tensor([[200.0, 0.0, 0.0]]), torch.tensor([0]))
    assert std.item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_scores_are_those_of_a_naive_loop(batch_size: int, architecture: str) -> None:
    model, tokenizer = tiny_model(architecture).eval(), word_tokenizer()
    rows = encode_pairs(tokenizer, *map(list, zip(*PAIRS, strict=True)), max_length=64, key="eval.x")
    with torch.no_grad():
        found = score_rows(Answers(), lambda: model, rows, batch_size, "eval.x")
    for (prompt, text), scores in zip(PAIRS, found, strict=True):
        head = tokenizer(prompt)["input_ids"]
        ids = tokenizer(f"{prompt} {text}" if prompt else text)["input_ids"]
        with torch.no_grad():
            logp = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        places = range(max(1, len(head)), len(ids))
        assert scores.logp == pytest.approx([float(logp[t - 1, ids[t]]) for t in places], abs=1e-4)
        assert scores.hit == [int(logp[t - 1].argmax() == ids[t]) for t in places]
        for t, mean, std in zip(places, scores.mean, scores.std, strict=True):
            p = logp[t - 1].exp()
            assert mean == pytest.approx(float((p * logp[t - 1]).sum()), abs=1e-4)
            second = float((p * logp[t - 1] ** 2).sum()) - float((p * logp[t - 1]).sum()) ** 2
            assert std == pytest.approx(math.sqrt(max(0.0, second)), abs=1e-3)
        assert scores.nll == pytest.approx(-sum(scores.logp) / len(scores.logp))


def test_greedy_replies_are_those_of_a_naive_loop_for_any_batch_size() -> None:
    model, tokenizer = tiny_model("llama").eval(), word_tokenizer()
    prompts = ["w1", "w2 w3 w4 w5", "w6 w7"]
    expected = []
    for prompt in prompts:
        ids = tokenizer(prompt)["input_ids"]
        start = len(ids)
        for _ in range(6):
            with torch.no_grad():
                ids = [*ids, int(model(torch.tensor([ids])).logits[0, -1].argmax())]
            if ids[-1] == tokenizer.eos_token_id:
                break
        expected.append(tokenizer.decode(ids[start:], skip_special_tokens=True).strip())
    for batch_size in (1, 2, 8):
        assert greedy_replies(Answers(), model, tokenizer, prompts, 6, batch_size) == expected


def test_what_is_known_is_not_asked_again() -> None:
    rows = encode_pairs(word_tokenizer(), ["w1", "w1"], ["w2", "w2"], 64, "eval.x")
    answers, model = Answers(), tiny_model("llama").eval()
    with torch.no_grad():
        first = score_rows(answers, lambda: model, rows, 4, "eval.x")

    def never() -> object:
        raise AssertionError

    assert score_rows(answers, never, rows, 4, "eval.x") == first


def test_nan_is_an_error_never_a_score() -> None:
    model, rows = tiny_model("llama"), encode_pairs(word_tokenizer(), ["w1"], ["w2"], 64, "eval.x")
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
        with pytest.raises(UserError, match=r"eval\.x: the model gives logits that are NaN or infinite"):
            score_rows(Answers(), lambda: model, rows, 4, "eval.x")


def test_a_text_beyond_the_limit_is_named() -> None:
    with pytest.raises(UserError, match=r"eval\.x\.max_length=3: nothing to score in the text 'w1 w2 w3 w4'"):
        encode_pairs(word_tokenizer(), ["w1 w2 w3"], ["w4"], 3, "eval.x")


def test_prompts() -> None:
    tokenizer = word_tokenizer()
    assert Prompt("Q: {question}\nA:").put("who {a}?", tokenizer) == "Q: who {a}?\nA:"
    with pytest.raises(UserError, match=r"eval\.x\.prompt='Q': must hold \{question\}"):
        Prompt("Q").check("eval.x")
    with pytest.raises(UserError, match=r"eval\.x\.chat=true: the tokenizer has no chat template"):
        Prompt("{question}", chat=True).check("eval.x", tokenizer)
    tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}] {{ m.content }} [assistant]{% endfor %}"
    Prompt("{question}", chat=True).check("eval.x", tokenizer)
    assert Prompt("{question}", chat=True).put("why?", tokenizer) == "[user] why? [assistant]"


def test_cut() -> None:
    assert cut(" an answer.\n\nQuestion: more", ["\n\n", "Question"]) == "an answer."
    assert cut("whole", []) == "whole"
