"""Weights come back, whatever happens in between; the base can be put in for a while."""

from __future__ import annotations

import pytest
import torch

from tests.attacks.conftest import weights
from tests.models.words import word_tokenizer
from unlearnctl.attacks.base import Target, Texts, kept
from unlearnctl.utils.errors import UserError


def test_weights_come_back_even_after_an_error(target: Target) -> None:
    before, name = weights(target), "lm_head.weight"

    def fails() -> None:
        with kept(target.model, [name]):
            parameter = target.model.get_parameter(name).requires_grad_(True)
            with torch.no_grad():
                parameter.add_(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert all(torch.equal(p, before[n]) for n, p in target.model.named_parameters())
    assert not any(p.requires_grad or p.grad is not None for p in target.model.parameters())


def test_the_base_is_in_place_only_inside(target: Target) -> None:
    name = "model.layers.2.mlp.down_proj.weight"
    before = weights(target)
    base = torch.randn_like(before[name])
    known = Target(target.model, target.tokenizer, target.blocks, 0, {name: base})
    with known.untouched():
        assert torch.equal(target.model.get_parameter(name), base)
    assert torch.equal(target.model.get_parameter(name), before[name])


def test_corpora_are_filtered_by_field(questions: str) -> None:
    whole = Texts.read({"path": questions}, "k", word_tokenizer(), 16)
    odd = Texts.read({"path": questions, "where": {"kind": [1]}}, "k", word_tokenizer(), 16)
    assert odd.corpus.texts == whole.corpus.texts[1::2]
    with pytest.raises(UserError, match=r"^k\.where=knd: .* has no such field \(did you mean 'kind'\?\)"):
        Texts.read({"path": questions, "where": {"knd": [1]}}, "k", word_tokenizer(), 16)
    with pytest.raises(UserError, match=r"^k\.where=3: must be null, or lists of allowed values by field"):
        Texts.read({"path": questions, "where": 3}, "k", word_tokenizer(), 16)
