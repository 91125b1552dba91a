"""TOFU's metrics by hand, and against scipy."""

from __future__ import annotations

import math
from statistics import fmean, harmonic_mean

import pytest
import torch
from scipy.stats import ks_2samp

from unlearnctl.data.rows import Row
from unlearnctl.evaluation.scoring.token_scores import TokenScores
from unlearnctl.evaluation.suites.tofu_metrics import (
    extraction_strength,
    forget_quality,
    model_utility,
    probability,
    truth_ratio,
    without_end,
)


def scores(*logp: float, hit: tuple[int, ...] = ()) -> TokenScores:
    return TokenScores(list(logp), list(hit), [], [])


def test_probability() -> None:
    """p = ¼·¼ over two tokens: ¼ a token. Against one wrong answer of ½ a token: ¼/(¼ + ½) = ⅓."""
    quarter, half = scores(math.log(1 / 8), math.log(1 / 2)), scores(math.log(1 / 2))
    assert probability(quarter) == pytest.approx(0.25)
    assert probability(quarter, [half]) == pytest.approx(1 / 3)


def test_truth_ratio() -> None:
    """Wrong answers ½ and ⅛ a token, geometric mean ¼; the paraphrase ½: ratio ½."""
    wrong = [scores(math.log(1 / 2)), scores(math.log(1 / 8))]
    assert truth_ratio(scores(math.log(1 / 2)), wrong) == pytest.approx(0.5)
    assert truth_ratio(scores(-1e4), [scores(0.0)]) == pytest.approx(math.exp(50))


def test_truth_ratio_with_the_arithmetic_mean() -> None:
    """Wrong answers ½ and ⅛ a token, mean 5/16; the paraphrase ½: ratio 5/8. Far below what exp can hold too."""
    wrong = [scores(math.log(1 / 2)), scores(math.log(1 / 8))]
    assert truth_ratio(scores(math.log(1 / 2)), wrong, "arithmetic") == pytest.approx(5 / 8)
    deep = [scores(math.log(1 / 2) - 2000.0), scores(math.log(1 / 8) - 2000.0)]
    assert truth_ratio(scores(math.log(1 / 2) - 2000.0), deep, "arithmetic") == pytest.approx(5 / 8)


def test_the_end_token_is_left_out_of_what_is_memorised() -> None:
    answer = TokenScores([-1.0, -2.0, -3.0], [1, 1, 0], [0.0] * 3, [1.0] * 3)
    assert without_end(answer, Row([5, 6, 7, 2], 1, 0), 2).hit == [1, 1]
    for row, end in ((Row([5, 6, 7, 8], 1, 0), 2), (Row([5, 6, 7, 2], 1, 0), None)):
        assert without_end(answer, row, end) is answer


@pytest.mark.parametrize(
    ("hit", "expected"),
    [((1, 1, 1, 1), 1.0), ((0, 1, 1, 1), 0.75), ((1, 1, 0, 1), 0.25), ((1, 1, 1, 0), 0.0), ((0,), 0.0)],
)
def test_extraction_strength(hit: tuple[int, ...], expected: float) -> None:
    assert extraction_strength(scores(hit=hit)) == expected


def test_utility_is_the_harmonic_mean_and_its_error_that_of_the_bootstrap() -> None:
    torch.manual_seed(0)
    parts = [(0.2 + 0.6 * torch.rand(50)).tolist() for _ in range(9)]
    found = model_utility(parts)
    assert found.value == pytest.approx(harmonic_mean([fmean(p) for p in parts]))
    assert found.n == 150
    assert found.interval[0] < found.value < found.interval[1]
    assert found.stderr == pytest.approx((found.interval[1] - found.interval[0]) / 3.92, rel=0.15)
    assert model_utility([[0.0, 0.0]] * 3 + [[1.0, 1.0]] * 6).value == 0.0


def test_forget_quality_is_that_of_scipy_and_sees_order_alone() -> None:
    torch.manual_seed(0)
    ours, theirs = torch.randn(40).exp().tolist(), (torch.randn(50) + 0.7).exp().tolist()
    found = forget_quality(ours, theirs)
    assert found.value == pytest.approx(ks_2samp([1 / x for x in ours], [1 / x for x in theirs]).pvalue)
    assert (found.n, found.goal, found.role) == (40, "higher", "forget")
    assert forget_quality(ours, ours).value == 1.0
