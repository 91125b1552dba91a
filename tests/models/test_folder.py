"""Folders that cannot be used are refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.tiny import tiny_model
from unlearnctl.models.spec import ModelSpec
from unlearnctl.utils.errors import UserError


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


def test_damaged_config_json(tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "lla')
    with pytest.raises(UserError, match=r"^model\.path=") as caught:
        _ = ModelSpec(name="t", path=str(tmp_path)).config
    assert "\n" not in str(caught.value)
