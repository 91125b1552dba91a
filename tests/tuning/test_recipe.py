"""A recipe is written in the form of the shipped ones, and read back as settings that what is typed overrides."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.command import run, succeed
from unlearnctl.tuning.recipe import laid_under, overrides_of, write_recipe
from unlearnctl.utils.errors import UserError

VALUES = {
    "objective.alpha": 18.7,
    "objective.layer": [3, 5],
    "trainer.optimizer.lr": 1e-3,
    "objective.target": "away",
}


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    write_recipe(tmp_path / "recipe.yaml", ["found by tune", "a command"], VALUES)
    return str(tmp_path / "recipe.yaml")


def test_it_reads_as_it_was_written(recipe: str) -> None:
    text = Path(recipe).read_text()
    assert text.startswith("# @package _global_\n# found by tune\n# a command\nobjective:\n")
    assert overrides_of(recipe) == [
        "objective.alpha=18.7", "objective.layer=[3, 5]", 'objective.target="away"', "trainer.optimizer.lr=0.001",
    ]  # fmt: skip


def test_what_is_typed_wins_over_it_and_it_wins_over_a_shipped_one(recipe: str) -> None:
    out = succeed("train", "objective.alpha=3", f"recipe={recipe}", "--cfg", "job").out
    objective = yaml.safe_load(out)["objective"]
    assert (objective["alpha"], objective["layer"], objective["target"]) == (3, [3, 5], "away")
    assert yaml.safe_load(out)["trainer"]["optimizer"]["lr"] == 1e-3


def test_the_shipped_ones_are_still_borrowed_by_name() -> None:
    assert laid_under(["recipe=zephyr_7b/rmu", "seed=1"]) == ["recipe=zephyr_7b/rmu", "seed=1"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("output_dir: /etc", "output_dir: a recipe sets keys of objective. and trainer. alone"),
        ("model: {trust_remote_code: true}", "model.trust_remote_code: a recipe sets keys of"),
        ("- 1", "must be a mapping of settings"),
        ("", "must be a mapping of settings"),
        ("a: [", "not YAML"),
        ("defaults: [x]", "must be a mapping of settings"),
    ],
)
def test_what_is_no_recipe_is_one_line(tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    done = run("train", f"recipe={tmp_path}/r.yaml")
    assert done.code == 2
    assert line in done.err
    assert done.err.count("\n") == 1


def test_a_file_that_is_missing_is_named() -> None:
    with pytest.raises(UserError, match=r"recipe=nowhere.yaml: cannot be read"):
        laid_under(["recipe=nowhere.yaml"])
