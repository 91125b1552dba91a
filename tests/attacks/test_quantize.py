"""Rounding in closed form; only linear weights of the blocks change, and only while a variant is scored."""

from __future__ import annotations

import pytest
import torch

from tests.attacks.conftest import make_target, weights
from tests.built import built
from unlearnctl.attacks.base import Target
from unlearnctl.attacks.quantize import Quantize, round_trip
from unlearnctl.utils.errors import UserError


def test_four_bits_by_hand() -> None:
    """Row 1: s = 7/7 = 1, so rounding to whole numbers. Row 2: s = .7/7 = .1. Row 3 is zero and stays zero."""
    weight = torch.tensor([[7.0, 1.4, -2.6, 0.2], [0.7, -0.34, 0.11, 0.0], [0.0, 0.0, 0.0, 0.0]])
    expected = torch.tensor([[7.0, 1.0, -3.0, 0.0], [0.7, -0.3, 0.1, 0.0], [0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(round_trip(weight, 4), expected)


def test_groups_have_scales_of_their_own() -> None:
    """Halves: s = 1 and s = .1; with one scale of 1 the right half would vanish."""
    weight = torch.tensor([[7.0, 1.4, 0.7, -0.34]])
    torch.testing.assert_close(round_trip(weight, 4, 2), torch.tensor([[7.0, 1.0, 0.7, -0.3]]))
    torch.testing.assert_close(round_trip(weight, 4), torch.tensor([[7.0, 1.0, 1.0, 0.0]]))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_error_is_at_most_half_a_step_and_twice_is_once(bits: int) -> None:
    weight = torch.randn(16, 64)
    rounded = round_trip(weight, bits)
    scale = weight.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    assert ((rounded - weight).abs() <= scale / 2 + 1e-6).all()
    assert len(rounded[0].unique()) <= 2**bits - 1
    torch.testing.assert_close(round_trip(rounded, bits), rounded)


@pytest.mark.parametrize("head", [False, True])
def test_only_linear_weights_of_blocks_change_and_come_back(target: Target, head: bool) -> None:
    before, seen = weights(target), []
    for variant in Quantize([8, 4], head=head).variants(target):
        during = weights(target)
        changed = {n for n in before if not torch.equal(during[n], before[n])}
        assert all("proj" in n or (head and n == "lm_head.weight") for n in changed)
        assert len(changed) == 6 * 7 + head
        torch.testing.assert_close(
            during["model.layers.1.mlp.up_proj.weight"],
            round_trip(before["model.layers.1.mlp.up_proj.weight"], int(variant.settings["bits"])),
        )
        seen.append(variant.label)
    assert seen == ["8 bits", "4 bits"]
    assert all(torch.equal(p, before[n]) for n, p in target.model.named_parameters())


STACKS = ("mlp.experts.gate_up_proj", "mlp.experts.down_proj")
EXPERTS = {"mixtral": False, "gpt_oss": True, "deepseek_v3": False}  # whether the stacks have inputs first


@pytest.mark.parametrize("kind", EXPERTS)
def test_experts_are_rounded_too(kind: str) -> None:
    target = make_target(kind)
    before = weights(target)
    for variant in Quantize([4]).variants(target):
        share = variant.settings["rounded"]
        assert 0.95 < share < 0.9995  # all but the routers
        assert variant.label == f"4 bits ({share:.1%} of the blocks' matrices)"
        during = weights(target)
        for name in STACKS:
            full = f"{target.blocks}.2.{name}"
            for was, now in zip(before[full], during[full], strict=True):
                if EXPERTS[kind]:
                    was, now = was.T, now.T
                torch.testing.assert_close(now, round_trip(was, 4))
                assert not torch.equal(now, was)
    assert all(torch.equal(p, before[n]) for n, p in target.model.named_parameters())


def test_gpt2s_transposed_matrices_are_rounded_by_their_outputs() -> None:
    target = make_target("gpt2")
    before = weights(target)
    for variant in Quantize([4], 16).variants(target):
        assert variant.label == "4 bits"
        name = "transformer.h.1.mlp.c_fc.weight"
        torch.testing.assert_close(weights(target)[name], round_trip(before[name].T, 4, 16).T)


def test_mistakes(target: Target) -> None:
    for bits in ([1], [17], [4.0], []):
        with pytest.raises(UserError, match=r"^attack\.quantize\.bits="):
            built("attack.quantize", Quantize, bits=bits)
    with pytest.raises(UserError, match=r"^attack\.quantize\.group_size=0: must be a whole number"):
        built("attack.quantize", Quantize, bits=[4], group_size=0)
    with pytest.raises(
        UserError, match=r"^attack\.quantize\.group_size=7: does not divide the inputs of model"
    ):
        next(Quantize([4], 7).variants(target))
