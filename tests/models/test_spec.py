"""What is refused before any weight is read, and what a skeleton knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.models.tiny import tiny_model
from tests.models.words import word_tokenizer
from unlearnctl.errors import UserError
from unlearnctl.models.spec import ModelSpec


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
