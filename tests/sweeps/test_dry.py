"""A dry run of a sweep says one plan and what its members differ in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import QUICK, run
from unlearnctl.sweeps.dry import SHOWN, WIDTH, covering, lines

MEMBERS = [
    ["objective=rmu", f"objective.alpha={alpha}", f"seed={seed}"] for alpha in range(20) for seed in range(25)
]


def test_every_value_is_in_one_of_the_members_that_are_checked() -> None:
    chosen = covering(MEMBERS)
    assert len(chosen) == 24 + 19
    assert {o for overrides in [MEMBERS[0], *chosen] for o in overrides} == {o for m in MEMBERS for o in m}
    assert covering(MEMBERS[:1]) == covering([]) == []


def test_five_hundred_members_take_few_lines_of_eighty_columns() -> None:
    said = list(lines(MEMBERS, 44))
    assert said[0] == "500 members; the plan is that of the first. They differ in:"
    assert said[1].startswith("  objective.alpha=0,1,2,3")
    assert said[2].startswith("  seed=0,1,2,3")
    assert (said[1][-12:], said[2][-12:]) == (" (20 values)", " (25 values)")
    assert said[3] == "    1  objective.alpha=0 seed=0"
    assert said[-2:] == [
        f"       and {500 - SHOWN} more", "checked: 44 of 500 members, which have every value of every setting",
    ]  # fmt: skip
    assert max(map(len, said)) <= WIDTH
    assert len(said) == SHOWN + 5


def test_long_names_and_values_are_cut() -> None:
    members = [[f"model.path={'x' * 300}{place}"] for place in range(3)]
    assert max(map(len, lines(members, 3))) <= WIDTH


def test_the_command_prints_one_plan_and_names_a_wrong_member(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("train", "-m", *QUICK, "launch.dry_run=true", "objective.alpha=1,2,much")
    assert done.code == 2
    assert done.out.count("Plan: ") == 1
    assert "3 members; the plan is that of the first. They differ in:" in done.out
    assert "  objective.alpha=1,2,much (3 values)" in done.out
    assert "objective.alpha=much: must be" in done.err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
