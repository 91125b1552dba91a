"""Which parameters train: regexes over Hugging Face names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from unlearnctl.models.skeleton import Skeleton
from unlearnctl.utils.errors import UserError, nearest


def match(patterns: Sequence[str], names: Iterable[str]) -> list[str]:
    """Names in which any pattern is found (`re.search`), in the order of `names`.

    Raises:
        UserError: a pattern that does not compile or that matches nothing.
    """
    names = list(names)
    chosen: set[str] = set()
    for pattern in patterns:
        try:
            found = [name for name in names if re.search(pattern, name)]
        except re.error as error:
            raise UserError(f"trainer.trainable={pattern}: not a regular expression: {error}") from error
        if not found:
            hint = nearest(pattern, names) or f" (names look like {names[len(names) // 2]})"
            raise UserError(f"trainer.trainable={pattern}: matches no parameter{hint}")
        chosen.update(found)
    return [name for name in names if name in chosen]


def lowest_block(names: Iterable[str], skeleton: Skeleton) -> int:
    """First block that must run with gradients: below it nothing trains.

    −1 if something before the blocks (the embedding) trains; the number of blocks if only what follows them does.
    """
    blocks = []
    for name in names:
        index = skeleton.block_of(name)
        if index is None:
            before = (
                "embed" in name or "wte" in name or "wpe" in name or "embed" in tied_partner(name, skeleton)
            )
            index = -1 if before else skeleton.num_blocks
        blocks.append(index)
    return min(blocks)


def tied_partner(name: str, skeleton: Skeleton) -> str:
    """If the model ties its head to the embedding, training the head's name means training the embedding."""
    return "embedding" if skeleton.tied and ("lm_head" in name or "embed_out" in name) else ""
