"""The table stays whole at 80 columns, without colour, without UTF-8."""

import io

import pytest
from rich.console import Console

from unlearnctl.reporting.terminal import print_comparison
from unlearnctl.results.run import compare

GOLDEN = """\
 metric                       before           after   chance      n     change
 ──────────────────────────────────────────────────────────────────────────────
 hazard_acc ↓          0.978 ± 0.017   0.267 ± 0.053    0.250    270   -0.711 ✓
 hazard_unseen_acc ↓   0.956 ± 0.042   0.356 ± 0.099    0.250     90   -0.600 ✓
 toxicity_prob ↓               0.490           0.490        –    200    0.000 ≈

 benign_acc ↑          0.981 ± 0.010   0.969 ± 0.013    0.250    720   -0.012 ≈
 benign_unseen_acc ↑   0.972 ± 0.017   0.892 ± 0.032    0.250    360   -0.080 ✗
 narrative_ppl ↓         2.87 ± 0.04     2.98 ± 0.04        –   4096    +0.11 ✗
"""


def shown(results, width=80, encoding="utf-8", **options):
    buffer = io.BytesIO()
    with io.TextIOWrapper(buffer, encoding=encoding, newline="\n") as file:
        print_comparison(results, Console(file=file, width=width, **options))
        file.flush()
        return buffer.getvalue().decode(encoding)


def test_golden_at_80_columns(make):
    lines = [line.rstrip() for line in shown(make.results()).splitlines()]
    assert "\n".join(lines[1:10]) + "\n" == GOLDEN.rstrip("\n") + "\n"
    assert "95 % interval" in "".join(lines)


def test_numbers_never_wrap_beside_a_long_name(make):
    results = make.results()
    suite = results["after"]["tinyworld"]
    suite["a_metric_with_quite_an_extraordinarily_long_name"] = make.metric(0.5, 0.01, 14042, 0.25)
    text = shown(results)
    assert max(map(len, text.splitlines())) <= 80
    assert "0.500 ± 0.020" in text
    assert "14042" in text


def test_plain_when_not_a_terminal_and_coloured_when_it_is(make):
    assert "\x1b" not in shown(make.results())
    assert "\x1b[32m" in shown(make.results(), force_terminal=True, color_system="standard")


def test_ascii_only_terminal(make):
    assert shown(make.results(), encoding="ascii").isascii()


def test_evaluation_without_before(make):
    results = make.results()
    del results["before"], results["train"]
    text = shown(results)
    assert "value" in text
    assert "before" not in text
    assert "change" not in text


def test_markup_and_escape_sequences_stay_text(make):
    results = make.results()
    results["after"]["tinyworld"]["[red]x\x1b[31m"] = make.metric(0.5)
    text = shown(results)
    assert "[red]x" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "many", True])
def test_odd_values_are_shown_not_raised(make, value):
    results = make.results()
    results["after"]["tinyworld"]["hazard_acc"]["value"] = value
    assert "hazard_acc" in shown(results)


def test_verdicts_need_more_than_noise(make):
    before = {
        "s": {"a": make.metric(0.50, 0.02), "b": make.metric(0.50), "c": make.metric(2.0, goal="lower")}
    }
    after = {"s": {"a": make.metric(0.53, 0.02), "b": make.metric(0.53), "c": make.metric(float("nan"))}}
    after["s"]["c"]["goal"] = "lower"
    assert [row.verdict for row in compare({"before": before, "after": after})] == ["same", "good", "bad"]


def test_nearer_to_chance_is_better_from_either_side(make):
    def auc(value):
        return make.metric(value, 0.01, 180, 0.5, "forget", "chance")

    before = {"m": {"a": auc(0.9), "b": auc(0.9), "c": auc(0.6), "d": auc(0.5)}}
    after = {"m": {"a": auc(0.5), "b": auc(0.2), "c": auc(0.1), "d": auc(0.505)}}
    rows = compare({"before": before, "after": after})
    assert [row.verdict for row in rows] == ["good", "good", "bad", "same"]
    assert "wanted at chance" in " ".join(shown({"before": before, "after": after}).split())


def test_raised_flags_are_said_and_odd_ones_passed_over(make):
    flag = {"name": "retain_drop", "metric": "s/acc", "value": 0.3, "bound": 0.1, "raised": True}
    quiet = {**flag, "name": "empty", "raised": False}
    odd = ["x", {**flag, "value": None}, {**flag, "value": float("nan")}]
    text = " ".join(shown(make.results(flags=[flag, quiet, *odd])).split())
    assert text.count("what should stay is damaged (s/acc): 0.30, bound 0.10") == 1
    assert "replies are empty" not in text
    assert "nan" not in text
    assert shown(make.results(flags="no list"))
