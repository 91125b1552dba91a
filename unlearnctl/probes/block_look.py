"""Look at what each block of the untouched model makes of a run's texts: norms, sinks, what can be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unlearnctl.data.batch import Batch
from unlearnctl.data.streams import SIDES, ForgetRetain
from unlearnctl.ops.precision import full
from unlearnctl.probes.on_texts import batches_of
from unlearnctl.probes.separability import separability
from unlearnctl.probes.states import mean_state

if TYPE_CHECKING:
    from unlearnctl.models.partial.decoder import Decoder

SINK = 10.0  # median norms, as objectives count


@dataclass(frozen=True)
class BlockLook:
    """What one block's output is like, over forget and retain texts."""

    block: int
    median: float  # norm of a token that counts
    sinks: float  # share of tokens above ten medians
    first: float  # share of the texts whose first token is one
    apart: float  # share of texts that a linear rule puts on their side, see `separability`


@torch.no_grad()
def look_at_blocks(
    decoder: Decoder, data: ForgetRetain, blocks: int, texts: int = 64, batch_size: int = 4
) -> tuple[list[BlockLook], dict[str, int]]:
    """Run all blocks once over the first `texts` forget and retain texts; returns the looks, and each side's texts.

    Only tokens that count are looked at: no padding, and no prompt.
    """
    states: dict[str, dict[str, Tensor]] = {side: {} for side in SIDES}
    norms: list[Float[Tensor, "N L"]] = []
    first: list[Bool[Tensor, " N"]] = []
    for side in SIDES:
        for batch in batches_of(decoder, data, side, texts, batch_size):
            kept = _residuals(decoder, batch, blocks)
            norms.append(torch.stack([full(each).norm(dim=-1)[batch.mask].float().cpu() for each in kept], 1))
            first.append((batch.attention_mask.cumsum(-1) == 1)[batch.mask].cpu())
            pooled = torch.stack([mean_state(each, batch) for each in kept], 1)
            states[side].update(zip(batch.keys, pooled.float().cpu(), strict=True))
    positive = torch.tensor([side == "forget" for side in SIDES for _ in states[side]])
    apart = separability(torch.stack([each for side in SIDES for each in states[side].values()]), positive)
    return _looks(torch.cat(norms), torch.cat(first), apart), {side: len(states[side]) for side in SIDES}


def _residuals(decoder: Decoder, batch: Batch, blocks: int) -> Sequence[Float[Tensor, "B T D"]]:
    entering, calls = decoder.record(batch)
    _, kept = decoder.run(range(blocks), entering, calls, range(blocks))
    return [kept[block] for block in range(blocks)]


def _looks(
    norms: Float[Tensor, "N L"], first: Bool[Tensor, " N"], apart: Float[Tensor, " L"]
) -> list[BlockLook]:
    median = norms.median(0).values
    sink = norms > SINK * median
    begun = sink[first].float().mean(0) if first.any() else torch.zeros_like(median)
    columns = [each.tolist() for each in (median, sink.float().mean(0), begun, apart)]
    return [BlockLook(block, *values) for block, values in enumerate(zip(*columns, strict=True))]
