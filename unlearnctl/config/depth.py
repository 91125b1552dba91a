"""Turn layers that a config gives as a share of a model's depth into block indices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KEYS = ("layer", "layers", "train_from")


def block_at(share: float, blocks: int) -> int:
    """Return the block at a share of the depth, above 0 and below 1: 0.23 of 30 blocks is block 7."""
    return min(round(share * blocks), blocks - 1)


def at_depth(node: Mapping[str, Any], blocks: int) -> dict[str, Any]:
    """Replace each share under `KEYS`, nested mappings included; indices stay what they are.

    Shares of one list that mean the same block of a shallow model become one.
    """
    return {
        key: _indices(value, blocks) if key in KEYS else _inside(value, blocks) for key, value in node.items()
    }


def _inside(value: Any, blocks: int) -> Any:
    return at_depth(value, blocks) if isinstance(value, Mapping) else value


def _indices(value: Any, blocks: int) -> Any:
    if isinstance(value, list):
        found = [_indices(each, blocks) for each in value]
        return [each for place, each in enumerate(found) if each not in found[:place]]
    # Anything else, such as 1.5 or a name, is refused where the objective is made.
    return block_at(value, blocks) if isinstance(value, float) and 0 < value < 1 else value
