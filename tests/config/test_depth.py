"""Layers as a share of the depth: which block they are, where they may stand, what records them, what is refused."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir

from tests.command import QUICK
from unlearnctl.config.depth import at_depth, block_at
from unlearnctl.unlearning.plan import make_plan, plan_rows
from unlearnctl.unlearning.prepare import Prepared, prepare
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.paths import conf_dir


def prepared(*overrides: str) -> Prepared:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return prepare(compose("train", overrides=[*QUICK, *overrides]))


@pytest.mark.parametrize(
    ("share", "blocks", "block"),
    [(0.23, 30, 7), (0.23, 32, 7), (0.5, 8, 4), (0.001, 30, 0), (0.999, 30, 29), (0.5, 1, 0)],
)
def test_a_share_is_the_nearest_block(share: float, blocks: int, block: int) -> None:
    assert block_at(share, blocks) == block


def test_shares_become_blocks_wherever_layers_stand_and_all_else_stays() -> None:
    node = {
        "alpha": 0.5,
        "layer": 0.5,
        "retain": {"layers": [1, 0.9, 0.3, 0.31]},
        "by_topic": {"a": {"layer": 7, "margin": 0.2}},
        "meta": {"layers": [[0.25], [0.3, 0.6], 0.5]},
    }
    assert at_depth(node, 8) == {
        "alpha": 0.5,
        "layer": 4,
        "retain": {"layers": [1, 7, 2]},
        "by_topic": {"a": {"layer": 7, "margin": 0.2}},
        "meta": {"layers": [[2], [2, 5], 4]},
    }


@pytest.mark.parametrize(
    "overrides",
    [
        ("objective=rmu", "objective.layer={x}"),
        ("objective=rmu_adaptive", "objective.layer={x}"),
        ("objective=rmu_cosine", "objective.layer={x}"),
        ("objective=rmu_cosine", "objective.layer=[2,{x}]"),
        ("objective=probe_directions", "objective.layers=[2,{x}]"),
        ("objective=circuit_breaking", "objective.layers=[{x}]"),
        ("objective=npo", "objective/retain=embed_diff", "objective.retain.layers=[1,{x}]"),
        (
            "objective=rmu_cosine",
            "trainer=meta",
            "trainer.monitor.every=1",
            "trainer.meta.layers=[[1],[2,{x}]]",
        ),
    ],
    ids=lambda overrides: " ".join(overrides),
)
def test_a_run_with_a_share_is_the_run_with_that_block(overrides: tuple[str, ...]) -> None:
    share, block = (prepared(*(each.format(x=x) for each in overrides)) for x in ("0.6", "5"))
    assert share.objective.needs() == block.objective.needs()
    assert share.trainable == block.trainable
    assert share.settings == block.settings


def test_the_plan_names_the_blocks() -> None:
    ready = prepared("objective=rmu_cosine", "objective.layer=[0.3,6]")
    plan = make_plan(ready, tokens=64)
    assert plan.layers == (2, 6)
    assert ("layers read", "2, 6") in plan_rows(ready, plan)
    assert make_plan(prepared("objective=grad_ascent"), tokens=64).layers == ()


@pytest.mark.parametrize("value", ["1.5", "1.0", "0.0", "-0.2", "x", "true"])
def test_what_is_no_share_is_refused(value: str) -> None:
    with pytest.raises(
        UserError, match=r"^objective\.layer=.*: must be a whole number, 0 or more, or a number"
    ):
        prepared("objective=rmu", f"objective.layer={value}")
