"""What is refused before any weight is read, and what a skeleton knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.models.tiny import tiny_model
from tests.models.words import word_tokenizer
from unlearnctl.models.spec import ModelSpec
from unlearnctl.utils.errors import UserError


def test_hub_out_of_reach_is_one_line_with_a_remedy() -> None:
    remedy = "the hub is switched off; fetch it where there is a network: unlearnctl prefetch"
    with pytest.raises(UserError, match=rf"^model\.path=no-such-org/no-such-model: .*{remedy}") as caught:
        _ = ModelSpec(name="t", path="no-such-org/no-such-model").config
    assert "\n" not in str(caught.value)


def test_a_token_without_an_embedding_is_refused_where_a_text_has_it(tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path)
    tokenizer = word_tokenizer()
    tokenizer.add_tokens([f"extra{i}" for i in range(4)])
    tokenizer.add_special_tokens({"pad_token": "<filler>"})
    tokenizer.save_pretrained(tmp_path)
    read = ModelSpec(name="t", path=str(tmp_path)).tokenizer()
    assert len(read) == 99
    assert read.pad_token_id < 96
    plain = ["w1 w2 w3", "w4"]
    assert read(plain)["input_ids"] == tokenizer(plain)["input_ids"]
    assert read(plain, return_tensors="pt", padding=True)["input_ids"].shape == (2, 4)
    line = f"model.path={tmp_path}: a text has the token 'extra3' (id 97), but the model's vocabulary has 96"
    for encode in (
        read.encode,
        read,
        lambda text: read([*plain, text]),
        lambda text: read(text, return_tensors="pt"),
    ):
        with pytest.raises(UserError) as caught:
            encode("w1 extra3")  # type: ignore[operator]
        assert str(caught.value) == line


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
