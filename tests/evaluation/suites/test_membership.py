"""Attacks against naive loops, AUC against scikit-learn; unseen texts are unseen; what is refused."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.built import built
from tests.models.tiny import tiny_model
from tests.models.words import word_tokenizer
from unlearnctl import tinyworld
from unlearnctl.evaluation.evaluate import evaluate
from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.evaluation.scoring.token_scores import TokenScores, encode_pairs
from unlearnctl.evaluation.suites.membership import (
    ATTACKS,
    MembershipSuite,
    _gradient_norm,
    auc,
    familiarity,
    gradient_norms,
)
from unlearnctl.tinyworld.world_files import materialise
from unlearnctl.utils.errors import UserError

SIDES = {
    "members": {"path": "tinyworld:membership/members.jsonl"},
    "nonmembers": {"path": "tinyworld:membership/nonmembers.jsonl"},
}


def load(folder: Path):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


def texts(side: str) -> list[str]:
    lines = (materialise() / f"membership/{side}.jsonl").read_text().splitlines()
    return [json.loads(line)["text"] for line in lines]


@pytest.mark.parametrize("seed", range(3))
def test_auc_is_that_of_scikit_learn_with_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 9, 40).tolist(), rng.integers(2, 11, 55).tolist()
    found = auc(a, b)
    assert found.value == pytest.approx(roc_auc_score([1] * 40 + [0] * 55, a + b))
    assert found.value == pytest.approx(fmean(found.items))
    assert (found.n, found.chance, found.goal) == (95, 0.5, "chance")
    assert found.interval[0] < found.value < found.interval[1]


def test_auc_error_agrees_with_delong() -> None:
    """DeLong et al. 1988: variance of the placements, each side over its number."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 120), rng.normal(0, 1, 90)
    v10, v01 = [(b < x).mean() for x in a], [(a > x).mean() for x in b]
    expected = math.sqrt(np.var(v10, ddof=1) / len(a) + np.var(v01, ddof=1) / len(b))
    assert auc(a, b).stderr == pytest.approx(expected, rel=0.1)


def test_attacks_closed_form() -> None:
    """log p = −1 −3 −2 −2, mean −2 and spread ½ everywhere: standardised 2 −2 0 0."""
    scores, text = TokenScores([-1.0, -3.0, -2.0, -2.0], [], [-2.0] * 4, [0.5] * 4), "some text"
    assert familiarity("loss", scores, text, 0.5) == -2
    assert familiarity("zlib", scores, text, 0.5) == pytest.approx(-2 / len(zlib.compress(b"some text")))
    assert familiarity("min_k", scores, text, 0.5) == -2.5
    assert familiarity("min_k", scores, text, 0.01) == -3
    assert familiarity("min_k_plus", scores, text, 0.5) == -1


def test_gradient_norm_is_autograds_and_leaves_no_trace(architecture: str) -> None:
    model, tokenizer = tiny_model(architecture).eval(), word_tokenizer()
    frozen = next(model.parameters())
    frozen.requires_grad_(False)
    rows = encode_pairs(tokenizer, ["", ""], ["w1 w2 w3", "w4 w5 w6 w7"], 64, "eval.x")
    with torch.no_grad():
        found = gradient_norms(Answers(), model, rows, "eval.x")
    assert not frozen.requires_grad
    assert all(p.grad is None for p in model.parameters())
    model.requires_grad_(True)
    for row, norm in zip(rows, found, strict=True):
        ids = torch.tensor([row.ids])
        grads = torch.autograd.grad(
            model(ids, labels=ids).loss, list(model.parameters()), materialize_grads=True
        )
        assert norm == pytest.approx(
            math.sqrt(sum(float(g.double().square().sum()) for g in grads)), rel=1e-4
        )


def test_suite_is_a_naive_loop_for_any_batch_size() -> None:
    model, tokenizer = load(tinyworld.model_dir())
    other, _ = load(tinyworld.model_dir("twin"))

    def nll(m, text: str) -> float:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.no_grad():
            return float(m(ids, labels=ids).loss)

    chosen = texts("members")[:12] + texts("nonmembers")[:12]
    truth = [1] * 12 + [0] * 12
    expected = {
        "loss_auc": roc_auc_score(truth, [-nll(model, t) for t in chosen]),
        "reference_auc": roc_auc_score(truth, [nll(other, t) - nll(model, t) for t in chosen]),
    }
    for batch_size in (1, 5, 64):
        suite = MembershipSuite(
            **SIDES,
            attacks=["loss", "reference"],
            reference="tinyworld:twin",
            limit=12,
            batch_size=batch_size,
        )
        suite.validate()
        found = evaluate({"m": suite}, model, tokenizer, quiet=True)["m"]
        assert {k: v.value for k, v in found.items()} == pytest.approx(expected)


@pytest.mark.full
def test_unseen_texts_are_unseen_and_the_twin_cannot_tell_them() -> None:
    """Measured, n = 90 a side: untouched .87 to .99 by attack, twin .47 to .50."""
    world = load(tinyworld.model_dir())
    suite = MembershipSuite(**SIDES, attacks=[a for a in ATTACKS if a != "reference"], batch_size=128)
    suite.validate()
    untouched = evaluate({"m": suite}, *world, quiet=True)["m"]
    twin = evaluate({"m": suite}, *load(tinyworld.model_dir("twin")), quiet=True)["m"]
    assert all(metric.value > 0.8 for metric in untouched.values())
    assert all(metric.interval[0] < 0.5 < metric.interval[1] for metric in twin.values())
    assert {metric.n for metric in twin.values()} == {180}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"attacks": ["los"]}, r"eval\.membership\.attacks=los: unknown \(did you mean 'loss'\?\)"),
        ({"attacks": []}, r"eval\.membership\.attacks=\[\]: must be a list, not empty"),
        ({"k": 0.0}, r"eval\.membership\.k=0.0: must be a number, above 0"),
        ({"reference": None}, r"eval\.membership\.reference=null: the attack 'reference' needs a model"),
        ({"reference": "x"}, r"eval\.membership\.reference=x: no model folder there"),
        ({"members": "x"}, r"eval\.membership\.members=x: must be a mapping"),
        ({"members": {"path": "no.jsonl"}}, r"eval\.membership\.members\.path=no\.jsonl: no such file"),
        ({"members": {"file": "x"}}, r"eval\.membership\.members\.file: unknown key"),
        ({"nonmembers": SIDES["members"]}, r"eval\.membership\.nonmembers: 90 texts are members too"),
        ({"limit": 1}, r"eval\.membership: 1 members and 1 non-members; needs 2 of each"),
        ({"max_length": 0}, r"eval\.membership\.max_length=0"),
    ],
)
def test_wrong_settings_fail_before_weights_load(change: dict, line: str) -> None:
    settings = {**SIDES, "reference": "tinyworld:twin", **change}
    with pytest.raises(UserError, match=line):
        built("eval.membership", MembershipSuite, **settings).validate()


def test_min_k_counts_every_token_and_the_peer_leaves_out_the_last() -> None:
    """Point E5. Five tokens, k = 40 %: the two least likely are −9 and −4; without the last it is −4 alone."""
    logp = [-1.0, -2.0, -3.0, -4.0, -9.0]
    scores = TokenScores(logp, [0] * 5, [0.0] * 5, [1.0] * 5)
    assert familiarity("min_k", scores, "", 0.4) == pytest.approx(-6.5)
    assert familiarity("min_k_plus", scores, "", 0.4) == pytest.approx(-6.5)
    least = sorted(logp[:-1])[: max(1, int(0.4 * 4))]
    assert sum(least) / len(least) == pytest.approx(-4.0)


def test_the_gradients_norm_does_not_depend_on_how_weights_are_cut_into_tensors() -> None:
    """Point E5. The norm over all weights, by a loop over single numbers; the peer's is a mean of tensors' norms."""
    model = tiny_model("llama").eval()
    ids = [3, 7, 5, 9, 4]
    found = _gradient_norm(model, ids, 0, "eval.membership")
    logp = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    loss = -sum(logp[t - 1, ids[t]] for t in range(1, len(ids))) / (len(ids) - 1)
    grads = torch.autograd.grad(loss, list(model.parameters()))
    total = sum(x * x for grad in grads for x in grad.double().flatten().tolist())
    assert found == pytest.approx(total**0.5, rel=2e-5)
    assert abs(found - sum(float(g.norm()) for g in grads) / len(grads)) > 1e-3
