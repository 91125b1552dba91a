"""Every `conf/model/*.yaml`: the same keys, true shapes (by parameter count), recipes that can be read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM

from unlearnctl.models.spec import ModelSpec
from unlearnctl.utils.paths import conf_dir

# tinyworld_* are tinyworld in another shape: tests/tinyworld/test_on_demand.py
FILES = sorted(p for p in (conf_dir() / "model").glob("*.yaml") if not p.stem.startswith("tinyworld_"))
KEYS = {
    "name", "path", "revision", "dtype", "attn_implementation",
    "blocks", "trust_remote_code", "shape", "recipe",
}  # fmt: skip
# Totals as the hub shows them beside each model (tied embeddings once).
PUBLISHED = {
    "llama3_8b": 8_030_261_248,
    "llama3_8b_instruct": 8_030_261_248,
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
TRAINER_KEYS = {"lr", "steps", "global_batch", "trainable", "optimizer"}


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
    assert set(cfg) == KEYS
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


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_recipes_name_objectives_and_settings_that_exist(file: Path) -> None:
    for objective, settings in read(file)["recipe"].items():
        if objective.startswith(("monitor_", "meta_")):  # read by conf/trainer/
            continue
        elsewhere = {"token_weights": "objective/token_weights/learned", "relearn": "attack/relearn"}
        config = read(conf_dir() / f"{elsewhere.get(objective, f'objective/{objective}')}.yaml")
        assert set(settings) <= set(config) | TRAINER_KEYS | {"source"}


@pytest.mark.parametrize("name", sorted(set(PUBLISHED)))
def test_every_recipe_for_a_real_model_names_its_source(name: str) -> None:
    recipe = read(conf_dir() / "model" / f"{name}.yaml")["recipe"]
    assert all(settings["source"] for settings in recipe.values())
