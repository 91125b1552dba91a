"""What is refused before any weight is read, and what a skeleton knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.models.tiny import tiny_config, tiny_model
from tests.models.words import word_tokenizer
from unlearnctl.errors import UserError
from unlearnctl.models.spec import ModelSpec, skeleton
from unlearnctl.models.trainable import lowest_block, match


def test_skeleton_knows_the_real_parameters(architecture: str) -> None:
    shape, model = skeleton(tiny_config(architecture)), tiny_model(architecture)
    real = {n: tuple(p.shape) for n, p in model.named_parameters(remove_duplicate=False)}
    assert dict(shape.shapes) == real
    assert shape.count() == sum(p.numel() for p in model.parameters())
    assert shape.num_blocks == 6
    assert shape.hidden_size == 32
    assert any(f"{shape.blocks}.3.{shape.mlp_out}.weight" == n for n in real)
    assert bool(shape.tied) == (architecture in ("qwen2", "gemma2"))


def test_lowest_block(architecture: str) -> None:
    shape = skeleton(tiny_config(architecture))
    names = [n for n in shape.shapes if n not in shape.tied]
    inside = match([r"\.[345]\."], names)
    assert lowest_block(inside, shape) == 3
    assert lowest_block(match([".*"], names), shape) == -1
    assert lowest_block(match(["norm"], [n for n in names if shape.block_of(n) is None]), shape) == 6


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda f: (f / "config.json").unlink(), "no config.json"),
        (lambda f: [p.rename(p.with_suffix(".bin")) for p in f.glob("*.safetensors")], "only pickle weights"),
        (lambda f: [p.unlink() for p in f.glob("*.safetensors")], "no weights"),
    ],
)
def test_unusable_folders(tmp_path: Path, change, line: str) -> None:
    tiny_model("llama").save_pretrained(tmp_path)
    change(tmp_path)
    with pytest.raises(UserError, match=rf"^model\.path=.*{line}"):
        _ = ModelSpec(name="t", path=str(tmp_path)).config


def test_absent_folder_offers_its_nearest_sibling(tmp_path: Path) -> None:
    (tmp_path / "zephyr").mkdir()
    with pytest.raises(UserError, match=r"no such folder \(did you mean 'zephyr'\?\)"):
        _ = ModelSpec(name="t", path=str(tmp_path / "zefyr")).config


def test_hub_out_of_reach_is_one_line_with_a_remedy() -> None:
    remedy = "the hub is switched off; fetch it where there is a network: unlearnctl prefetch"
    with pytest.raises(UserError, match=rf"^model\.path=no-such-org/no-such-model: .*{remedy}") as caught:
        _ = ModelSpec(name="t", path="no-such-org/no-such-model").config
    assert "\n" not in str(caught.value)


def test_tokenizer_larger_than_the_model(tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path)
    tokenizer = word_tokenizer()
    tokenizer.add_tokens([f"extra{i}" for i in range(50)])
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="144 tokens, but the model's vocabulary has 96"):
        ModelSpec(name="t", path=str(tmp_path)).tokenizer()


def test_damaged_config_json(tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "lla')
    with pytest.raises(UserError, match=r"^model\.path=") as caught:
        _ = ModelSpec(name="t", path=str(tmp_path)).config
    assert "\n" not in str(caught.value)


def test_unknown_model_type(tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "no_such_thing"}))
    with pytest.raises(UserError, match=r"^model\.path=") as caught:
        _ = ModelSpec(name="t", path=str(tmp_path)).config
    assert "\n" not in str(caught.value)


def test_unknown_key_and_dtype() -> None:
    with pytest.raises(UserError, match=r"model\.dtyp: unknown key \(did you mean 'dtype'\?\)"):
        ModelSpec.from_config({"name": "t", "path": "x/y", "dtyp": "float32"})
    with pytest.raises(UserError, match=r"model\.dtype=float23: unknown \(did you mean 'float32'\?\)"):
        ModelSpec.from_config({"name": "t", "path": "x/y", "dtype": "float23"})


def test_trainable_that_matches_nothing_or_does_not_compile() -> None:
    names = list(skeleton(tiny_config("llama")).shapes)
    with pytest.raises(UserError, match=r"trainer\.trainable=mlp\.dwn_proj: matches no parameter"):
        match(["mlp.dwn_proj"], names)
    with pytest.raises(UserError, match="not a regular expression"):
        match(["("], names)


def test_wrong_blocks_path() -> None:
    with pytest.raises(UserError, match=r"^model\.blocks=model\.layer: not a block list"):
        skeleton(tiny_config("llama"), "model.layer")
