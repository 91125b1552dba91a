"""Every `conf/model/*.yaml` has the same keys and a true shape (by parameter count); every recipe can be read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from transformers import AutoConfig, AutoModelForCausalLM

from unlearnctl.models.spec import ModelSpec
from unlearnctl.utils.paths import conf_dir

# tinyworld_* are tinyworld in another shape: tests/tinyworld/test_on_demand.py
FILES = sorted(p for p in (conf_dir() / "model").glob("*.yaml") if not p.stem.startswith("tinyworld_"))
KEYS = {
    "name", "path", "revision", "dtype", "attn_implementation",
    "blocks", "trust_remote_code", "shape",
}  # fmt: skip
# Totals as the hub shows them beside each model (tied embeddings once).
PUBLISHED = {
    "llama3_8b": 8_030_261_248,
    "llama3_8b_instruct": 8_030_261_248,
    "smollm2_135m": 134_515_008,
    "llama3_2_1b": 1_235_814_400,
    "tofu_llama3_2_1b": 1_235_814_400,
    "zephyr_7b": 7_241_732_096,
    "mistral_7b": 7_241_732_096,
    "qwen2_5_7b": 7_615_616_512,
    "olmo3_7b": 7_298_011_136,
    "gemma2_9b": 9_241_705_984,
    "deep_ignorance_6_9b": 6_857_302_016
    - 2 * 4096 * (50432 - 50304),  # Pythia 6.9B, less its vocabulary padding
}
NO_SHAPE = {"tinyworld", "local"}  # their config.json is at hand
RECIPES = sorted((conf_dir() / "recipe").glob("*/*.yaml"))  # MODEL/OBJECTIVE.yaml


def read(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def parameters(shape: dict[str, Any]) -> int:
    rest = {key: value for key, value in shape.items() if key != "model_type"}
    config = AutoConfig.for_model(shape["model_type"], **rest)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return sum(p.numel() for p in model.parameters())


def test_the_table_names_every_file() -> None:
    assert {file.stem for file in FILES} == set(PUBLISHED) | NO_SHAPE


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_form(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    cfg = read(file)
    assert lines[0].startswith("# ")  # what `unlearnctl ls model` shows
    assert lines[1].startswith("# unlearnctl ")
    assert set(cfg) - {"validation", "relearn"} == KEYS
    assert cfg["name"] == file.stem
    assert cfg["trust_remote_code"] is False
    assert cfg["attn_implementation"] in (None, "eager", "sdpa", "flash_attention_2")
    if cfg["path"] not in ("???", "tinyworld:weights"):
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", cfg["path"])
        assert re.fullmatch(r"main|[0-9a-f]{40}", cfg["revision"])
        ModelSpec.from_config(cfg)  # refuses unknown keys and dtypes


@pytest.mark.parametrize("name", PUBLISHED)
def test_shape_gives_the_published_number_of_parameters(name: str) -> None:
    assert parameters(read(conf_dir() / "model" / f"{name}.yaml")["shape"]) == PUBLISHED[name]


def name_of(recipe: Path) -> str:
    return f"{recipe.parent.name}/{recipe.stem}"


@pytest.mark.parametrize("recipe", RECIPES, ids=name_of)
def test_a_recipe_sets_only_keys_that_exist(recipe: Path) -> None:
    assert (conf_dir() / "model" / f"{recipe.parent.name}.yaml").is_file()
    settings = {key: value for key, value in read(recipe).items() if key != "defaults"}
    objective = read(conf_dir() / "objective" / f"{recipe.stem}.yaml")
    trainer = read(conf_dir() / "trainer" / "default.yaml")
    assert set(settings) <= {"objective", "trainer"}
    assert set(settings.get("objective", {})) - {"by_topic"} <= set(objective)
    assert set(settings.get("trainer", {})) <= set(trainer)
    assert set(settings.get("trainer", {}).get("optimizer", {})) <= set(trainer["optimizer"])


@pytest.mark.parametrize("recipe", [r for r in RECIPES if r.parent.name != "tinyworld"], ids=name_of)
def test_a_recipe_for_a_real_model_names_its_source(recipe: Path) -> None:
    assert "\n# Source: " in recipe.read_text(encoding="utf-8")


@pytest.mark.parametrize("part", ["hazard", "toxic"])
def test_the_parts_of_the_composite_recipe_have_the_numbers_of_their_own_recipes(part: str) -> None:
    together = read(conf_dir() / "recipe/tinyworld/composite.yaml")["objective"]["by_topic"][part]
    alone = {"hazard": "rmu_cosine", "toxic": "probe_directions"}[part]
    assert together == read(conf_dir() / f"recipe/tinyworld/{alone}.yaml")["objective"]


def composed(*overrides: str) -> Any:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("train", overrides=[*overrides])


def test_a_recipe_gives_way_to_the_command_line_and_can_be_left_out_or_borrowed() -> None:
    assert composed("objective=rmu").trainer.steps == 100
    assert composed("objective=rmu", "trainer.steps=7").trainer.steps == 7
    assert composed("objective=rmu", "~recipe").trainer.steps == 150
    assert composed("objective=rmu", "recipe=zephyr_7b/rmu").objective.steering_coeff == 6.5
    other_shape = composed("model=tinyworld_qwen2", "objective=npo", "objective/token_weights=learned")
    assert (other_shape.objective.alpha, other_shape.objective.token_weights.lr) == (0.3, 0.3)
    assert other_shape.trainer.monitor.every == 50
    assert composed("model=local", "model.path=x").trainer.monitor.every == 0
