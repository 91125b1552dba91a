"""Which files travel with an export: those of the model, its tokenizer and its licence, and no other weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unlearnctl.models.export_files import files_of
from unlearnctl.utils.errors import UserError

BELONG = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "vocab.txt", "qwen.tiktoken",
    "spiece.model", "chat_template.jinja", "preprocessor_config.json", "processor_config.json", "LICENSE",
    "LICENSE.txt", "USE_POLICY.md", "NOTICE", "additional_chat_templates/tool_use.jinja",
)  # fmt: skip
FOREIGN = (
    "model_old.safetensors", "model.fp16.safetensors", "consolidated.safetensors", "pytorch_model.bin", "a.pt", "b.pth",
    "c.ckpt", "d.gguf", "e.onnx", "flax_model.msgpack", "tf_model.h5", "weights.npz", "w.npy", "x.tflite", "y.pkl",
    "z.mlmodel", "rust_model.ot", "frozen.pb", "all.zip", "all.tar.gz", "model.part-00", "model.safetensors.bak",
    "MODEL.SAFETENSORS", "modeling_x.py", "adapter.model", "LICENSE.safetensors", "optimizer.json", "training_args.bin",
)  # fmt: skip
FOLDERS = ("onnx/model.onnx", "original/consolidated.00.pth", "additional_chat_templates/w.safetensors")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    for name in ("model.safetensors", *BELONG, *FOREIGN, *FOLDERS, "README.md", ".git/x"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    return folder


def test_what_belongs_to_the_model(model: Path) -> None:
    files = files_of(model)
    assert files.weights == ("model.safetensors",)
    assert set(files.others) == set(BELONG)
    assert set(files.left_out) == {*FOREIGN, "onnx/", "original/"}
    assert not files.code


def test_what_is_said(model: Path) -> None:
    (said,) = files_of(model).notes()
    assert said == (
        "left out, because transformers does not load them: 30 (LICENSE.safetensors, MODEL.SAFETENSORS, a.pt, "
        "adapter.model, all.tar.gz, all.zip, b.pth, c.ckpt, …)"
    )


def test_a_licence_that_is_too_big_to_be_one(model: Path) -> None:
    (model / "LICENSE").write_bytes(b"w" * (1 << 21))
    assert "LICENSE" in files_of(model).left_out


def test_python_files_travel_where_they_are_allowed_to_run(model: Path) -> None:
    (model / "config.json").write_text(json.dumps({"auto_map": {"AutoModelForCausalLM": "modeling_own.Own"}}))
    (model / "modeling_own.py").write_text("from .layers_own import Layer\n")
    (model / "layers_own.py").write_text("import torch\n")
    assert not files_of(model).code
    files = files_of(model, with_code=True)
    assert files.code == ("layers_own.py", "modeling_own.py")
    assert next(files.notes()) == (
        "Python files of the model, which run when it is loaded: layers_own.py, modeling_own.py"
    )
    assert "modeling_x.py" in files.left_out


@pytest.mark.parametrize("name", ["notes.json", "tokenizer.json", "model.safetensors", "data"])
def test_a_link_out_of_the_folder_is_refused(name: str, model: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("{}")
    (model / name).unlink(missing_ok=True)
    (model / name).symlink_to(tmp_path if name == "data" else tmp_path / "secret")
    with pytest.raises(UserError) as refused:
        files_of(model)
    assert str(refused.value) == (
        f"model.path={model}: {name} is a link that leads out of the folder; copy the file into it, or remove the link"
    )


def test_links_within_the_folder_and_a_hub_cache_are_fine(model: Path, tmp_path: Path) -> None:
    (model / "vocab.json").unlink()
    (model / "vocab.json").symlink_to("tokenizer.json")
    assert "vocab.json" in files_of(model).others
    cache = tmp_path / "models--org--name"
    (cache / "blobs").mkdir(parents=True)
    (cache / "snapshots").mkdir()
    model.rename(cache / "snapshots" / "abc")
    (cache / "snapshots" / "abc" / "model.safetensors").rename(cache / "blobs" / "f00")
    (cache / "snapshots" / "abc" / "model.safetensors").symlink_to("../../blobs/f00")
    assert files_of(cache / "snapshots" / "abc").weights == ("model.safetensors",)
