"""Which parameters train, and the lowest block of them."""

from __future__ import annotations

import pytest

from tests.models.tiny import tiny_config
from unlearnctl.models.skeleton import skeleton
from unlearnctl.models.trainable import from_block, lowest_block, match
from unlearnctl.utils.errors import UserError


def test_lowest_block(architecture: str) -> None:
    shape = skeleton(tiny_config(architecture))
    names = [n for n in shape.shapes if n not in shape.tied]
    inside = match([r"\.[345]\."], names)
    assert lowest_block(inside, shape) == 3
    assert lowest_block(match([".*"], names), shape) == -1
    assert lowest_block(match(["norm"], [n for n in names if shape.block_of(n) is None]), shape) == 6


def test_what_trains_from_a_block_on(architecture: str) -> None:
    shape = skeleton(tiny_config(architecture))
    names = [n for n in shape.shapes if n not in shape.tied]
    kept = from_block(names, 4, shape)
    assert {shape.block_of(name) for name in kept} == {4, 5}
    assert kept == [name for name in names if name in kept]
    assert lowest_block(kept, shape) == 4
    with pytest.raises(UserError, match=r"trainer\.train_from=6: the model's last block is 5"):
        from_block(names, 6, shape)
    with pytest.raises(UserError, match=r"trainer\.train_from=5: all that would train lies below it: "):
        from_block([name for name in names if shape.block_of(name) == 3], 5, shape)


def test_trainable_that_matches_nothing_or_does_not_compile() -> None:
    names = list(skeleton(tiny_config("llama")).shapes)
    with pytest.raises(UserError, match=r"trainer\.trainable=mlp\.dwn_proj: matches no parameter"):
        match(["mlp.dwn_proj"], names)
    with pytest.raises(UserError, match="not a regular expression"):
        match(["("], names)
