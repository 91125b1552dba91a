"""Runs from before the suites moved to evaluation/suites/ are read and resumed as before."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from unlearnctl.config.instantiate import build_suites
from unlearnctl.config.targets import find_class
from unlearnctl.runs.directory import config_hash, own_config
from unlearnctl.runs.moved import SUITES, with_first_names, with_new_names
from unlearnctl.utils.paths import conf_dir


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The directory of a run whose config names its suites by their first modules."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("train", ["eval=[tinyworld,perplexity,smoke]", "eval.perplexity.path=x", "run=r"])
    text = OmegaConf.to_yaml(cfg, resolve=True)
    assert "unlearnctl.evaluation.suites." in text
    text = text.replace("evaluation.suites.lm_eval.", "evaluation.lm_eval_suite.")
    (tmp_path / "config.yaml").write_text(text.replace("evaluation.suites.", "evaluation."))
    return tmp_path


def test_a_config_with_the_first_names_is_read(old: Path) -> None:
    cfg = own_config(old)
    found = {type(suite).__name__ for suite in build_suites(cfg.eval).values()}
    assert found == {"TinyWorldSuite", "PerplexitySuite"}


def test_a_move_changes_no_hash(old: Path) -> None:
    """The hash is in training checkpoints and names the members of a sweep."""
    assert config_hash(OmegaConf.load(old / "config.yaml")) == config_hash(own_config(old))  # type: ignore[arg-type]


def test_every_class_is_where_the_table_says() -> None:
    for new, first in SUITES.items():
        assert find_class("eval.x", new).__name__ == first.rpartition(".")[2]
        node = {"a": [{"_target_": first}], "_target_": 3}
        assert with_new_names(node) == {"a": [{"_target_": new}], "_target_": 3}
        assert with_first_names(with_new_names(node)) == node


def test_every_shipped_suite_that_moved_is_in_the_table() -> None:
    texts = "".join(file.read_text() for file in (conf_dir() / "eval").glob("*.yaml"))
    shipped = set(re.findall(r"unlearnctl\.evaluation\.suites\.[\w.]+", texts))
    assert shipped - {"unlearnctl.evaluation.suites.mc.MultipleChoiceSuite"} <= set(
        SUITES
    )  # came after the move
