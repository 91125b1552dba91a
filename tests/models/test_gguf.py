"""A GGUF file becomes a folder of the cache, with the weights that transformers reads from it, once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from unlearnctl.models.gguf import dequantised, gguf_file, source_of
from unlearnctl.models.load import load_model
from unlearnctl.models.spec import ModelSpec
from unlearnctl.utils.errors import UserError

WIDTH, MIDDLE, HEADS, BLOCKS = 64, 128, 4, 2
TOKENS = ["<s>", "</s>", *"abcdefgh", "ab", "cd"]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny Llama, its matrices in 4 bits, as llama.cpp would write it."""
    import gguf

    monkeypatch.setenv("UNLEARNCTL_CACHE", str(tmp_path / "cache"))
    path, rng = tmp_path / "tiny.Q4_0.gguf", np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    for add, value in (
        (writer.add_context_length, 64), (writer.add_embedding_length, WIDTH), (writer.add_block_count, BLOCKS),
        (writer.add_feed_forward_length, MIDDLE), (writer.add_head_count, HEADS), (writer.add_head_count_kv, HEADS),
        (writer.add_layer_norm_rms_eps, 1e-5), (writer.add_rope_freq_base, 10000.0),
        (writer.add_vocab_size, len(TOKENS)), (writer.add_tokenizer_model, "gpt2"),
        (writer.add_token_list, TOKENS), (writer.add_token_merges, ["a b", "c d"]),
        (writer.add_token_types, [3, 3, *[1] * (len(TOKENS) - 2)]), (writer.add_bos_token_id, 0),
        (writer.add_eos_token_id, 1),
    ):  # fmt: skip
        add(value)  # type: ignore[operator]
    shapes = {"token_embd": (len(TOKENS), WIDTH), "output_norm": (WIDTH,)}
    for block in range(BLOCKS):
        parts = {
            "attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH, WIDTH), "attn_v": (WIDTH, WIDTH), "attn_output": (WIDTH, WIDTH),
            "ffn_gate": (MIDDLE, WIDTH), "ffn_up": (MIDDLE, WIDTH), "ffn_down": (WIDTH, MIDDLE),
            "attn_norm": (WIDTH,), "ffn_norm": (WIDTH,),
        }  # fmt: skip
        shapes |= {f"blk.{block}.{name}": shape for name, shape in parts.items()}
    for name, shape in shapes.items():
        values = rng.standard_normal(shape).astype(np.float32) * 0.1 + (len(shape) == 1)
        kind = gguf.GGMLQuantizationType.Q4_0 if len(shape) == 2 else gguf.GGMLQuantizationType.F32
        stored = gguf.quants.quantize(values, kind)
        writer.add_tensor(f"{name}.weight", stored, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_its_weights_are_those_that_transformers_reads(file: Path) -> None:
    spec = ModelSpec.from_config({"name": "local", "path": str(file)})
    assert "quantization_config" not in (Path(spec.path) / "config.json").read_text()
    ids = torch.arange(len(TOKENS))[None]
    theirs = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    with torch.no_grad():
        assert torch.equal(load_model(spec)(ids).logits, theirs.eval()(ids).logits)
    assert spec.tokenizer()("abcd").input_ids


def test_it_is_written_once_and_says_where_it_came_from(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = dequantised(file)
    assert f"dequantising {file} into {first}, once" in capsys.readouterr().err
    assert source_of(first) == str(file)
    assert dequantised(file) == first
    assert capsys.readouterr().err == ""
    assert source_of(file.parent) is None


def test_a_damaged_file_is_one_line_and_leaves_no_folder(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    for size in (4, 100, len(whole) // 2):
        file.write_bytes(whole[:size])
        with pytest.raises(
            UserError, match=r"^model\.path=.*: not a GGUF (file$|model that transformers can read \()"
        ):
            dequantised(file)
    assert not [p for p in (tmp_path / "cache/gguf").iterdir() if p.suffix not in (".lock", ".draft")]


def test_a_folder_with_one_file_means_that_file(file: Path, tmp_path: Path) -> None:
    """Other files may lie beside it, but no other model may."""
    folder = tmp_path / "packed"
    folder.mkdir()
    moved = file.rename(folder / file.name)
    (folder / "README.md").write_text("weights")
    spec = ModelSpec.from_config({"name": "local", "path": str(folder)})
    assert source_of(Path(spec.path)) == str(moved)
    for other in ("second.gguf", "model.safetensors", "config.json"):
        (folder / other).touch()
        assert gguf_file(folder) is None
        (folder / other).unlink()
    assert gguf_file(folder) == moved
    assert gguf_file(folder / "README.md") is None
    assert gguf_file(tmp_path / "absent") is None
