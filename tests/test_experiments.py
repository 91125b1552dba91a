"""Every `conf/experiment/*.yaml` is a whole run that begins with its command and composes; the small ones run."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from tests.command import QUICK, succeed
from unlearnctl.commands.ls import first_comment
from unlearnctl.config.instantiate import build_objective, build_suites, plain
from unlearnctl.utils.paths import conf_dir

EXPERIMENTS = sorted((conf_dir() / "experiment").glob("*.yaml"))
SMALL = [file.stem for file in EXPERIMENTS if file.stem.startswith("tinyworld")]


def composed(name: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("train", overrides=[f"experiment={name}", *overrides])


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_it_says_its_command_and_composes(file: Path) -> None:
    assert first_comment(file).startswith(f"unlearnctl train experiment={file.stem}: ")
    cfg = composed(file.stem)
    assert cfg.name == file.stem
    assert plain(cfg)
    build_objective(cfg.objective)
    assert build_suites(cfg.eval)


def test_the_command_line_wins_over_an_experiment_and_an_experiment_over_a_recipe() -> None:
    name = "tinyworld_hazard_toxic_rmu"
    assert composed(name).objective.by_topic.hazard.layer == 4
    assert composed(name, "objective.by_topic.hazard.layer=3").objective.by_topic.hazard.layer == 3
    assert composed("tinyworld_hazard_rmu_cosine", "objective=npo").trainer.steps == 100


@pytest.mark.first(1)
@pytest.mark.parametrize("name", SMALL)
def test_the_small_ones_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = succeed("train", f"experiment={name}", *QUICK)
    assert done.run_dir.startswith(f"outputs/train/{name}/")
