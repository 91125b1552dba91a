"""Copies for side-by-side training share what is frozen and nothing else."""

from __future__ import annotations

import torch

from tests.models.tiny import make_batch, tiny_model
from unlearnctl.models.shared_models import sharing_copy


def test_a_copy_shares_all_but_its_own(architecture: str) -> None:
    model = tiny_model(architecture)
    own = [name for name, _ in model.named_parameters() if ".3." in name and "mlp" in name]
    copy = sharing_copy(model, own)
    batch = make_batch()
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "use_cache": False}
    with torch.no_grad():
        before = model(**inputs).logits
        assert torch.equal(copy(**inputs).logits, before)
        theirs = dict(copy.named_parameters())
        for name, parameter in model.named_parameters():
            assert (theirs[name] is parameter) == (name not in own), name
        theirs[own[0]].zero_()
        assert not torch.equal(copy(**inputs).logits, before)
        assert torch.equal(model(**inputs).logits, before)


def test_a_trunk_is_named_as_the_whole_model() -> None:
    trunk = tiny_model("llama").model
    copy = sharing_copy(trunk, ["model.layers.2.mlp.down_proj.weight"])
    mine = dict(copy.named_parameters())
    differ = {name for name, p in trunk.named_parameters() if mine[name] is not p}
    assert differ == {"layers.2.mlp.down_proj.weight"}


def test_tied_weights_stay_tied() -> None:
    model = tiny_model("qwen2")
    copy = sharing_copy(model, ["model.embed_tokens.weight"])
    assert copy.lm_head.weight is copy.model.embed_tokens.weight
    assert copy.lm_head.weight is not model.lm_head.weight
