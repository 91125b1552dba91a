"""Random models of a few thousand parameters, one per supported architecture."""

from __future__ import annotations

import torch
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from unlearnctl.data.batch import IGNORE, Batch
from unlearnctl.models.skeleton import auto_class

VOCABULARY = 96
_COMMON = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 6, "num_attention_heads": 4,
    "vocab_size": VOCABULARY, "max_position_embeddings": 256, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 0,
}  # fmt: skip
_GROUPED = {"num_key_value_heads": 2}
USUAL = ("llama", "gemma2", "gpt_neox")  # the others are tested in `make test-all` alone
ARCHITECTURES = ("llama", "mistral", "qwen2", "gemma2", "gpt_neox", "olmo2", "olmo3")
_EXTRA = {
    "llama": _GROUPED,
    "mistral": {**_GROUPED, "sliding_window": 8},
    "qwen2": {**_GROUPED, "tie_word_embeddings": True},
    "gemma2": {**_GROUPED, "head_dim": 8, "sliding_window": 8},
    "gpt_neox": {},
    "olmo2": _GROUPED,
    "olmo3": {**_GROUPED, "sliding_window": 8},
}
# Others, each odd in its own way: blocks that return tuples or lists, alibi, learned positions, two norms before
# one stream, a text model inside one that sees, experts in stacks, recurrences.
_VISION = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": 28, "patch_size": 14,
}  # fmt: skip
_IMAGE = {"image_token_index": 90, "vision_config": {"model_type": "siglip_vision_model", **_VISION}}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_LATENT = {
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
    "head_dim": 8, "num_key_value_heads": 4,
}  # fmt: skip
_SIBLINGS: dict[str, dict] = {
    "falcon": {"ffn_hidden_size": 64},
    "bloom": {},
    "gptj": {"rotary_dim": 4, "n_inner": 64},
    "codegen": {"rotary_dim": 4, "n_inner": 64},
    "gpt_neo": {"attention_types": [[["global", "local"], 3]], "window_size": 8},
    "mpt": {},
    "gpt2": {"n_inner": 64},
    "openai-gpt": {},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "phi": {},
    "gemma3": {
        **_IMAGE,
        "mm_tokens_per_image": 4,
        "text_config": {**_COMMON, **_GROUPED, "model_type": "gemma3_text", "head_dim": 8, "sliding_window": 8},
    },
    "llava": {**_IMAGE, "text_config": {**_COMMON, **_GROUPED, "model_type": "llama"}},
    "mixtral": {**_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": {**_GROUPED, **_EXPERTS, "shared_expert_intermediate_size": 16},
    "qwen3_moe": {**_GROUPED, **_EXPERTS, "head_dim": 8},
    "qwen3_next": {
        **_GROUPED, **_EXPERTS, "shared_expert_intermediate_size": 16, "head_dim": 8, "linear_num_key_heads": 2,
        "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    },
    "deepseek_v3": {
        **_LATENT, "first_k_dense_replace": 1, "n_routed_experts": 4, "n_shared_experts": 1, "n_group": 1,
        "topk_group": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
    },
    "gpt_oss": {**_GROUPED, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8},
    "mamba": {"state_size": 8, "time_step_rank": 2},
    "zaya": {},
    "bert": {},
}  # fmt: skip
SIBLINGS = tuple(_SIBLINGS)


def tiny_config(architecture: str) -> PretrainedConfig:
    if architecture in _SIBLINGS:
        own = _SIBLINGS[architecture]
        return AutoConfig.for_model(architecture, **own if "text_config" in own else {**_COMMON, **own})
    return AutoConfig.for_model(architecture, **_COMMON, **_EXTRA[architecture])


def tiny_model(architecture: str, seed: int = 0) -> PreTrainedModel:
    """Random weights a little larger than the default initialisation, so that no output is near zero."""
    torch.manual_seed(seed)
    config = tiny_config(architecture)
    model = auto_class(config).from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2 or (parameter.ndim == 3 and architecture in _SIBLINGS):
                parameter.normal_(0, 0.15)
    return model.eval()


def make_batch(
    lengths: tuple[int, ...] = (13, 20, 7),
    side: str = "right",
    width: int = 20,
    seed: int = 0,
    topic: int = 0,
) -> Batch:
    """Random tokens of the given lengths, padded to `width`; a batch that is a whole global batch."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.zeros(len(lengths), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, n in enumerate(lengths):
        where = slice(0, n) if side == "right" else slice(width - n, width)
        ids[row, where] = torch.randint(3, VOCABULARY, (n,), generator=generator)
        mask[row, where] = 1
    return Batch(
        input_ids=ids,
        attention_mask=mask,
        labels=torch.where(mask.bool(), ids, IGNORE),
        mask=mask.bool(),
        index=torch.arange(len(lengths)),
        tokens=sum(lengths),
        predictions=sum(lengths) - len(lengths),
        sequences=len(lengths),
        topic=topic,
    )
