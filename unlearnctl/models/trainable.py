"""Chooses the parameters that train, by regular expressions over Hugging Face names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from unlearnctl.models.skeleton import Skeleton
from unlearnctl.utils.errors import UserError, nearest


def match(patterns: Sequence[str], names: Iterable[str]) -> list[str]:
    """Return the names in which any pattern is found (`re.search`), in the order of `names`.

    Raises:
        UserError: a pattern does not compile, or matches nothing.
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


def from_block(names: Sequence[str], lowest: int, skeleton: Skeleton) -> list[str]:
    """Return the names that are in a block, and in none below `lowest`.

    Raises:
        UserError: the model has no such block, or nothing is left.
    """
    if lowest >= skeleton.num_blocks:
        raise UserError(f"trainer.train_from={lowest}: the model's last block is {skeleton.num_blocks - 1}")
    kept = [name for name in names if (block := skeleton.block_of(name)) is not None and block >= lowest]
    if not kept:
        raise UserError(
            f"trainer.train_from={lowest}: all that would train lies below it: {names[0]}, ... (trainer.trainable)"
        )
    return kept


def lowest_block(names: Iterable[str], skeleton: Skeleton) -> int:
    """Return the first block that must run with gradients, since nothing below it trains.

    −1 if something before the blocks (the embedding) trains; the number of blocks if only what follows them does.
    """
    blocks = []
    for name in names:
        index = skeleton.block_of(name)
        if index is None:
            index = -1 if _is_before_blocks(name, skeleton) else skeleton.num_blocks
        blocks.append(index)
    return min(blocks)


def _is_before_blocks(name: str, skeleton: Skeleton) -> bool:
    # A head that is tied to the embedding is the embedding, under another name.
    tied_head = bool(skeleton.tied) and ("lm_head" in name or "embed_out" in name)
    return tied_head or any(part in name for part in ("embed", "wte", "wpe"))
