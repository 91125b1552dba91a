"""Pooled residual states of texts, layer by layer, from the untouched model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from unlearnctl.data.batch import Batch
from unlearnctl.utils.errors import unknown

if TYPE_CHECKING:
    from unlearnctl.models.partial.decoder import Decoder

POOLS = ("mean", "before")


@torch.no_grad()
def pooled_states(
    decoder: Decoder, batches: Iterable[Batch], layers: Sequence[int], pool: str = "mean"
) -> Float[Tensor, "N L D"]:
    """Return one state per text and layer, float32 on the CPU; a text that repeats counts once.

    Args:
        decoder: its blocks are run up to the highest layer.
        batches: texts.
        layers: block indices; the state is the stream after the block.
        pool: `mean` over the tokens that count (all but padding and prompt), or `before`, the last token before
            the first that counts: what the model knows before the reply begins. Without a prompt, the first token.

    Raises:
        UserError: another `pool`.
    """
    if pool not in POOLS:
        raise unknown("pool", pool, POOLS)
    found: dict[str, Tensor] = {}
    for batch in batches:
        entering, calls = decoder.record(batch)
        _, kept = decoder.run(range(max(layers) + 1), entering, calls, layers)
        states = torch.stack([_pool(kept[layer], batch, pool) for layer in layers], 1)
        found.update(zip(batch.keys, states.float().cpu(), strict=True))
    return torch.stack(list(found.values()))


def _pool(hidden: Float[Tensor, "B T D"], batch: Batch, pool: str) -> Float[Tensor, "B D"]:
    if pool == "mean":
        return mean_state(hidden, batch)
    first = batch.mask.int().argmax(-1)
    start = batch.attention_mask.argmax(-1)
    return hidden[torch.arange(len(first)), torch.maximum(first - 1, start)]


def mean_state(hidden: Float[Tensor, "B T D"], batch: Batch) -> Float[Tensor, "B D"]:
    """Average over the tokens of each text that count."""
    counted = batch.mask[..., None]
    return torch.where(counted, hidden.float(), 0.0).sum(1) / counted.sum(1)
