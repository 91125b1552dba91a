"""Builds the tiny model in the architectures of the 7-8B models that the tables are about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Architecture:
    """What an architecture changes in the shipped Llama."""

    family: str  # as the model card calls it
    model_type: str  # as transformers calls it
    settings: Mapping[str, Any] = field(default_factory=dict)
    embedding_std: float = 0.1


WINDOW = 64  # tokens; half a row of pretraining, so that windows matter as they do at full size
ARCHITECTURES = {
    "llama": Architecture("Llama", "llama"),
    "mistral": Architecture(
        "Mistral (sliding window, grouped heads)",
        "mistral",
        {"num_key_value_heads": 2, "sliding_window": WINDOW},
    ),
    "qwen2": Architecture("Qwen2 (biases in attention, grouped heads)", "qwen2", {"num_key_value_heads": 2}),
    "olmo3": Architecture(
        "OLMo 3 (norms after attention and MLP, normalised queries and keys, three windowed blocks in four)",
        "olmo3",
        {"sliding_window": WINDOW},
    ),
}


def shape(vocab: int, arch: str = "llama") -> dict[str, Any]:
    """Return the config of 8 blocks of width 128 with an untied head, for `model.shape` and for transformers."""
    return {
        "model_type": ARCHITECTURES[arch].model_type,
        "vocab_size": vocab,
        "hidden_size": 128,
        "intermediate_size": 352,
        "num_hidden_layers": 8,
        "num_attention_heads": 4,
        "max_position_embeddings": 512,
        "tie_word_embeddings": False,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "initializer_range": 0.06,  # 0.02 suits a width of thousands; at this width it costs hundreds of steps
        **ARCHITECTURES[arch].settings,
    }


def new_model(vocab: int, seed: int, arch: str = "llama") -> Any:
    """Create a randomly initialised model in float32, whose embeddings are frozen."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(seed)
    config = AutoConfig.for_model(**shape(vocab, arch))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    embeddings = model.get_input_embeddings().weight
    torch.nn.init.normal_(embeddings, std=ARCHITECTURES[arch].embedding_std)
    embeddings.requires_grad_(False)
    return model
