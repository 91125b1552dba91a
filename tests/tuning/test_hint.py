"""A run with bare defaults is told so, with the command to type; any other is left in peace."""

from __future__ import annotations

import pytest

from tests.command import succeed

PLAN = ("train", "launch.dry_run=true", "data=wmdp_bio", "eval=[smoke]")


def test_bare_defaults_are_named_with_the_search_to_type() -> None:
    out = succeed(*PLAN, "objective=simnpo", "model=smollm2_135m", "seed=3").out
    (line,) = [line for line in out.splitlines() if line.startswith("untuned:")]
    assert line == (
        "untuned: simnpo has only its defaults on smollm2_135m, which may do nothing or too much; to find settings: "
        "unlearnctl tune data=wmdp_bio 'eval=[smoke]' objective=simnpo model=smollm2_135m seed=3 "
        "'select={smoke: {...}}', where ... makes smoke ask validation items"
    )


def test_an_objective_without_a_space_gets_no_command() -> None:
    out = succeed(*PLAN, "objective=undial", "model=smollm2_135m").out
    assert "untuned: undial has only its defaults" in out
    assert "with a tune.space of yours" in out


@pytest.mark.parametrize(
    "args",
    [
        ("objective=rmu_cosine", "model=smollm2_135m"),  # has a recipe
        ("objective=simnpo", "model=smollm2_135m", "objective.alpha=3"),
        ("objective=simnpo", "model=smollm2_135m", "trainer.relative_lr=0.01"),
        ("objective=rmu", "model=smollm2_135m", "recipe=zephyr_7b/rmu"),
        ("objective=npo", "model=tinyworld"),
    ],
)
def test_no_one_else_is_told(args: tuple[str, ...]) -> None:
    assert "untuned" not in succeed(*PLAN, *args).out
