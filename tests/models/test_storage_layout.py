"""Names on the disk that are not those in memory: dtypes, changes and exports by the names in memory, for each kind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from tests.models.tiny import make_batch, tiny_model
from unlearnctl.models.delta import apply_delta, save_delta
from unlearnctl.models.export import export
from unlearnctl.models.load import identity, load_model
from unlearnctl.models.spec import ModelSpec
from unlearnctl.models.storage_layout import changed_tensors, stored_dtypes
from unlearnctl.utils.errors import UserError

MOE = {
    "qwen2_moe": {
        "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16,
    },
    "mixtral": {"num_local_experts": 4},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8},
}  # fmt: skip
TRAINED = {  # by their names in memory; the first is one that the folder does not have
    "llama": ["lm_head.weight", "model.layers.3.mlp.down_proj.weight"],
    "gemma2": ["model.embed_tokens.weight", "model.layers.3.mlp.down_proj.weight"],
    "qwen2": ["model.embed_tokens.weight", "model.layers.3.self_attn.q_proj.bias"],
    "gpt_neox": ["lm_head.weight", "model.layers.3.mlp.dense_4h_to_h.weight"],
    "qwen2_moe": ["model.layers.1.mlp.experts.down_proj", "model.layers.1.mlp.experts.gate_up_proj"],
    "mixtral": ["model.layers.1.mlp.experts.down_proj", "model.layers.0.mlp.gate.weight"],
    "qwen3_moe": ["model.layers.1.mlp.experts.gate_up_proj", "lm_head.weight"],
}


def build(kind: str) -> PreTrainedModel:
    if kind not in MOE:
        return tiny_model(kind)
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=96, max_position_embeddings=256, pad_token_id=0, **MOE[kind],
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config).eval()


def trained(spec: ModelSpec, names: list[str]) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    parameters = dict(load_model(spec).named_parameters(remove_duplicate=False))
    names = [n if n in parameters else n.replace("model.layers", "gpt_neox.layers") for n in names]
    dtypes = stored_dtypes(spec, names)
    return {
        n: (parameters[n] + 0.1 * torch.randn_like(parameters[n])).to(getattr(torch, dtypes[n]))
        for n in names
    }


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model(make_batch().input_ids, use_cache=False).logits


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", TRAINED)
def test_an_export_computes_what_base_and_delta_do(kind: str, dtype: str, tmp_path: Path) -> None:
    """Whatever the folder calls its tensors, and also where it stores them in another dtype than the run's."""
    build(kind).to(getattr(torch, dtype)).save_pretrained(tmp_path / "base")
    spec = ModelSpec(name="t", path=str(tmp_path / "base"), dtype="float32")
    tensors = trained(spec, TRAINED[kind])
    assert {str(t.dtype) for t in tensors.values()} == {f"torch.{dtype}"}
    save_delta(tmp_path / "ck", tensors, spec, identity(spec))
    export(spec, tmp_path / "ck", tmp_path / "out")
    ours = load_model(spec)
    apply_delta(ours, tensors)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "out")), logits(ours))
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("base", "out"))
    assert {n: t.dtype for n, t in before.items()} == {n: t.dtype for n, t in after.items()}


@pytest.mark.parametrize("kind", ["llama", "gpt_neox", "mixtral", "qwen2_moe"])
def test_changes_between_two_folders_have_names_in_memory(kind: str, tmp_path: Path) -> None:
    build(kind).save_pretrained(tmp_path / "base")
    spec = ModelSpec(name="t", path=str(tmp_path / "base"))
    tensors = trained(spec, TRAINED[kind])
    other = load_model(spec)
    apply_delta(other, tensors)
    other.save_pretrained(tmp_path / "other")
    found = changed_tensors(spec, tmp_path / "other")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[n], tensors[n]) for n in tensors)


def test_folders_that_store_one_model_differently(tmp_path: Path) -> None:
    """A tied head that one of them has under both names."""
    model = tiny_model("qwen2")
    model.save_pretrained(tmp_path / "base")
    changed = model.model.layers[2].mlp.down_proj.weight
    with torch.no_grad():
        changed += 1
    model.save_pretrained(tmp_path / "other")
    _store_the_head_too(tmp_path / "other")
    found = changed_tensors(ModelSpec(name="t", path=str(tmp_path / "base")), tmp_path / "other")
    assert list(found) == ["model.layers.2.mlp.down_proj.weight"]


def _store_the_head_too(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "lm_head.weight"])
def test_a_tied_tensor_is_written_under_each_of_its_names(name: str, tmp_path: Path) -> None:
    tiny_model("qwen2").save_pretrained(tmp_path / "base")
    _store_the_head_too(tmp_path / "base")
    spec = ModelSpec(name="t", path=str(tmp_path / "base"))
    tensors = trained(spec, [name])
    save_delta(tmp_path / "ck", tensors, spec, identity(spec))
    export(spec, tmp_path / "ck", tmp_path / "out")
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(written["model.embed_tokens.weight"], tensors[name])
    assert torch.equal(written["lm_head.weight"], tensors[name])


def test_a_model_of_the_hub_is_stored_as_its_cache_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ModelSpec(name="t", path="org/name", revision="a" * 40, dtype="float32")
    assert stored_dtypes(spec, ["lm_head.weight"]) == {"lm_head.weight": "float32"}
    tiny_model("llama").to(torch.bfloat16).save_pretrained(tmp_path / "snapshot")
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache",
        lambda repo, name, revision: str(tmp_path / "snapshot" / name),
    )
    assert stored_dtypes(spec, ["lm_head.weight"]) == {"lm_head.weight": "bfloat16"}


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path / "base")
    tiny_model("gpt_neox").save_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match="not the same architecture as"):
        changed_tensors(ModelSpec(name="t", path=str(tmp_path / "base")), tmp_path / "other")
