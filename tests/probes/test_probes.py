"""Probes find planted directions, say what they would find in noise, and survive a round trip."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from tests.models.tiny import make_batch, tiny_config, tiny_model
from unlearnctl.models.partial.decoder import Decoder
from unlearnctl.models.skeleton import skeleton
from unlearnctl.probes.fit import fit_probes, load_probes, save_probes
from unlearnctl.probes.states import pooled_states
from unlearnctl.utils.errors import UserError

LAYERS = (1, 4)


def planted(n: int = 400) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Layer 1: classes 3 apart along one axis of a stretched cloud. Layer 4: the same cloud twice."""
    generator = torch.Generator().manual_seed(0)
    stretch = torch.tensor([1.0, 5.0, 0.2, 1.0, 1.0])
    axis = torch.nn.functional.normalize(torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0]), dim=0)
    clouds = torch.randn(2, n, 2, 5, generator=generator) * stretch
    clouds[0, :, 0] += 3 * axis
    return clouds[0], clouds[1], axis


def test_a_planted_direction_is_found_and_noise_is_not() -> None:
    positive, negative, axis = planted()
    probes = fit_probes(positive, negative, LAYERS, seed=0)
    assert probes.direction.norm(dim=-1).tolist() == pytest.approx([1.0, 1.0])
    assert float(probes.direction[0] @ axis) > 0.9
    assert probes.accuracy[0] > 0.9
    assert probes.accuracy[1] < 0.6
    assert (probes.control - 0.5).abs().max() < 0.12
    assert probes.held_out == 200
    along = negative[:, 0] @ probes.direction[0]
    assert probes.neutral_mean[0].item() == pytest.approx(along.mean().item(), abs=1e-4)
    assert probes.neutral_scale[0].item() == pytest.approx(along.std(unbiased=False).item(), abs=1e-4)


def test_direction_and_threshold_decide_as_scikit_learns_own_probe() -> None:
    """The direction is in activation coordinates, so no standardisation is needed to use it."""
    positive, negative, _ = planted(100)
    probes = fit_probes(positive, negative, LAYERS, seed=0, share=0.25, strength=0.1)
    x = torch.cat([positive, negative])[:, 0].double().numpy()
    y = np.repeat([1, 0], 100)
    from unlearnctl.probes.fit import _split

    train, test = _split(y, 0.25, 0)
    mean, scale = x[train].mean(0), x[train].std(0) + 1e-6
    theirs = LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced").fit(
        (x[train] - mean) / scale, y[train]
    )
    ours = x @ probes.direction[0].double().numpy() > probes.threshold[0].item()
    assert (ours == theirs.predict((x - mean) / scale).astype(bool)).all()
    assert probes.accuracy[0].item() == pytest.approx((ours[test] == y[test]).mean())


def test_the_seed_decides_the_split() -> None:
    positive, negative, _ = planted(60)
    same = [fit_probes(positive, negative, LAYERS, seed=3) for _ in range(2)]
    assert torch.equal(same[0].direction, same[1].direction)
    assert not torch.equal(same[0].direction, fit_probes(positive, negative, LAYERS, seed=4).direction)


@pytest.mark.parametrize("side", ["right", "left"])
def test_states_are_pooled_over_what_counts(architecture: str, side: str) -> None:
    model, shape = tiny_model(architecture), skeleton(tiny_config(architecture))
    batch = make_batch((6, 9), side, width=9)
    prompted = batch.mask.clone()
    starts = [int(row.int().argmax()) for row in batch.mask]
    for b, start in enumerate(starts):
        prompted[b, start : start + 2] = False  # two tokens of prompt
    batch = replace(batch, mask=prompted, corpus="forget/all")
    decoder = Decoder(model, shape.blocks)
    with torch.no_grad():
        hidden = model(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            output_hidden_states=True,
            use_cache=False,
        ).hidden_states
    mean = pooled_states(decoder, [batch, batch], LAYERS, "mean")
    before = pooled_states(decoder, [batch], LAYERS, "before")
    assert mean.shape == before.shape == (2, 2, 32)  # the same texts twice count once
    for b, start in enumerate(starts):
        for i, layer in enumerate(LAYERS):
            rows = torch.stack([hidden[layer + 1][b, t] for t in range(9) if prompted[b, t]])
            torch.testing.assert_close(mean[b, i], rows.mean(0))
            torch.testing.assert_close(before[b, i], hidden[layer + 1][b, start + 1])


def test_without_a_prompt_before_is_the_first_token() -> None:
    model, shape = tiny_model("llama"), skeleton(tiny_config("llama"))
    decoder, batch = Decoder(model, shape.blocks), make_batch((5, 9), "left", width=9)
    states = pooled_states(decoder, [batch], (2,), "before")
    with torch.no_grad():
        hidden = model(
            batch.input_ids, attention_mask=batch.attention_mask, output_hidden_states=True
        ).hidden_states[3]
    torch.testing.assert_close(states[:, 0], torch.stack([hidden[0, 4], hidden[1, 0]]))
    with pytest.raises(UserError, match="pool=median: unknown"):
        pooled_states(decoder, [batch], (2,), "median")


def test_round_trip_and_damage(tmp_path: Path) -> None:
    positive, negative, _ = planted(40)
    probes = fit_probes(positive, negative, LAYERS, seed=0)
    save_probes(tmp_path, probes, {"pool": "mean"})
    again = load_probes(tmp_path)
    assert again.layers == LAYERS
    assert all(torch.equal(value, again.tensors()[name]) for name, value in probes.tensors().items())
    assert torch.equal(again.of([4])["direction"], probes.direction[1:])
    with pytest.raises(UserError, match=r"^objective.probe: layer 2 was not probed; it has \[1, 4\]"):
        again.of([4, 2])
    file = tmp_path / "probes.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match="damaged"):
        load_probes(tmp_path)
    manifest = json.loads((tmp_path / "probes.json").read_text())
    (tmp_path / "probes.json").write_text(json.dumps({**manifest, "format": "other"}))
    with pytest.raises(UserError, match="damaged, or not probes of format"):
        load_probes(tmp_path)
    (tmp_path / "probes.json").write_text("[]")
    with pytest.raises(UserError, match="cannot be read"):
        load_probes(tmp_path)
    with pytest.raises(UserError, match="no probes there"):
        load_probes(tmp_path / "absent")
