"""Signs of collapse by closed form, and when a flag goes up."""

from __future__ import annotations

import math

import pytest

from tests.models.words import word_tokenizer
from unlearnctl import tinyworld
from unlearnctl.evaluation.collapse import BOUNDS, flags, is_gibberish, repetition, reply_metrics, vocabulary
from unlearnctl.results.metric import Metric

KNOWN = frozenset("the cat sat on mat in".split())


def metric(value: float, role: str = "retain", goal: str = "higher", **more: object) -> Metric:
    return Metric(value, more.pop("stderr", None), 100, more.pop("chance", None), role, goal, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reply", "gibberish"),
    [
        ("The cat sat.", False),
        ("the cat xqzt", False),
        ("the xqzt vrrp", True),
        ("in 1987", False),
        ("1987", False),
        ("!!! ???", True),
        ("", False),
        ("  ", False),
    ],
)
def test_gibberish(reply: str, gibberish: bool) -> None:
    assert is_gibberish(reply, KNOWN) is gibberish


def test_repetition() -> None:
    """a a a a a a: three 4-grams, all the same: two of three came before."""
    assert repetition("a a a a a a") == pytest.approx(2 / 3)
    assert repetition("a b c d e f") == 0
    assert repetition("a a a") == 0


def test_reply_metrics() -> None:
    found = reply_metrics(["the cat sat", "xqzt vrrp", "", "a a a a a a"], KNOWN | {"a"}, "forget_")
    assert [round(m.value, 4) for m in found.values()] == [0.25, round(2 / 3 / 4, 4), 0.25]
    assert list(found) == ["forget_gibberish", "forget_repetition", "forget_empty"]
    assert {m.n for m in found.values()} == {4}


def test_vocabulary_is_the_suites_words_and_the_tokenizers_whole_words() -> None:
    known = vocabulary(word_tokenizer(), ["Velor Fenn, 1987"])
    assert {"velor", "fenn", "1987"} <= known
    from transformers import AutoTokenizer

    world = vocabulary(AutoTokenizer.from_pretrained(tinyworld.model_dir()), [])
    assert "basket" in world
    assert "b" not in world


def test_flags_go_up_beyond_their_bound_only() -> None:
    before = {"s": {"acc": metric(0.9, chance=0.25), "x_ppl": metric(2.0, goal="lower")}}
    after = {
        "s": {
            "acc": metric(0.86, chance=0.25),
            "x_ppl": metric(4.0, goal="lower"),
            "forget_empty": metric(0.1, "quality", "lower"),
            "loss_auc": metric(0.2, "forget", "chance"),
            "zlib_auc": metric(0.45, "forget", "chance"),
        }
    }
    found = {f["name"]: f for f in flags(before, after)}
    assert set(found) == {"retain_drop", "empty", "over_unlearning"}
    assert found["retain_drop"]["metric"] == "s/x_ppl"
    assert found["retain_drop"]["value"] == 0.5
    assert found["over_unlearning"]["metric"] == "s/loss_auc"
    assert found["over_unlearning"]["value"] == pytest.approx(0.3)
    assert {n for n, f in found.items() if f["raised"]} == {"over_unlearning", "retain_drop"}
    assert found["empty"]["bound"] == BOUNDS["empty"]
    assert not any(f["raised"] for f in flags(before, after, dict.fromkeys(BOUNDS, 9.0)))


def test_nothing_to_judge_no_flag() -> None:
    assert flags({}, {"s": {"acc": metric(0.1)}}) == []
    assert flags({"s": {"acc": metric(0.2, chance=0.25)}}, {"s": {"acc": metric(0.1, chance=0.25)}}) == []


def test_noise_raises_nothing() -> None:
    auc = metric(0.3, "forget", "chance", interval=(0.05, 0.6))
    (found,) = flags({}, {"s": {"loss_auc": auc}})
    assert (found["value"], found["raised"]) == (pytest.approx(0.2), False)
    few = {"s": {"acc": metric(1.0, stderr=0.2)}}, {"s": {"acc": metric(0.8, stderr=0.2)}}
    assert not flags(*few)[0]["raised"]


def test_a_ruined_model_raises_a_flag() -> None:
    for value in (math.inf, math.nan):
        (found,) = flags(
            {"s": {"ppl": metric(2.0, goal="lower")}}, {"s": {"ppl": metric(value, goal="lower")}}
        )
        assert found["raised"]
        assert found["value"] == 1.0
