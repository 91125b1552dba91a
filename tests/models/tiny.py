"""Random models of a few thousand parameters, one per supported architecture."""

from __future__ import annotations

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from unlearnctl.data.batch import IGNORE, Batch

VOCABULARY = 96
_COMMON = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 6, "num_attention_heads": 4,
    "vocab_size": VOCABULARY, "max_position_embeddings": 256, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 0,
}  # fmt: skip
_GROUPED = {"num_key_value_heads": 2}
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


def tiny_config(architecture: str) -> PretrainedConfig:
    return AutoConfig.for_model(architecture, **_COMMON, **_EXTRA[architecture])


def tiny_model(architecture: str, seed: int = 0) -> PreTrainedModel:
    """Random weights a little larger than the default initialisation, so that no output is near zero."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(tiny_config(architecture))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
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
