"""Trunks hold what is needed and compute what the whole model computes; identities distinguish weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models.tiny import make_batch
from unlearnctl.models.load import identity, load_model, load_trunk
from unlearnctl.models.partial.tapped import TappedModel
from unlearnctl.models.skeleton import skeleton
from unlearnctl.models.spec import ModelSpec
from unlearnctl.models.trainable import lowest_block
from unlearnctl.objectives.base import Needs
from unlearnctl.utils.errors import UserError


@pytest.mark.parametrize("side", ["right", "left"])
def test_trunk_equals_whole_model(folder: Path, side: str) -> None:
    spec, batch = ModelSpec(name="tiny", path=str(folder)), make_batch(side=side)
    shape = skeleton(spec.config)
    names = [name for block in (2, 3, 4) for name in shape.mlp_outputs(block)]
    needs = {"forget": Needs(layers=(3, 4), reference=True)}
    views = []
    for model in (load_model(spec), load_trunk(spec, 5)):
        tapped = TappedModel(model, shape.blocks, names, lowest_block(names, shape), needs)
        views.append(tapped({"forget": batch})["forget"])
        assert list(tapped.trained()) == names
    for layer in (3, 4):
        assert torch.equal(views[0].hidden[layer], views[1].hidden[layer])
        assert torch.equal(views[0].reference.hidden[layer], views[1].reference.hidden[layer])


def test_trunk_holds_no_other_block_and_no_head(folder: Path) -> None:
    spec = ModelSpec(name="tiny", path=str(folder))
    names = [n for n, _ in load_trunk(spec, 2).named_parameters()]
    assert any(".1." in n for n in names)
    assert not any(f".{i}." in n for n in names for i in range(2, 6))
    assert not any("lm_head" in n or "embed_out" in n for n in names)


def test_everything_is_frozen_and_in_eval_mode(folder: Path) -> None:
    model = load_model(ModelSpec(name="tiny", path=str(folder)))
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


def test_identity_follows_the_weights(folder: Path) -> None:
    spec = ModelSpec(name="tiny", path=str(folder))
    before = identity(spec)
    assert identity(spec) == before
    shard = sorted(folder.glob("*.safetensors"))[0]
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    assert identity(spec) != before
    assert identity(ModelSpec(name="x", path="org/name", revision="abc")) == "org/name@abc:float32"


def test_truncated_weights_are_one_line(folder: Path) -> None:
    shard = sorted(folder.glob("*.safetensors"))[0]
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"^model\.path=.*cannot load its weights"):
        load_model(ModelSpec(name="tiny", path=str(folder)))


def test_missing_tensors_are_refused_not_invented(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    gone = next(n for n in content["weight_map"] if ".3." in n and "mlp" in n)
    shard = folder / content["weight_map"][gone]
    tensors = load_file(shard)
    del tensors[gone], content["weight_map"][gone]
    save_file(tensors, shard, metadata={"format": "pt"})
    index.write_text(json.dumps(content))
    with pytest.raises(UserError, match="its weights lack"):
        load_model(ModelSpec(name="tiny", path=str(folder)))
