"""Look at the token norms of the untouched model on the texts of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from unlearnctl.data.batch import Batch
from unlearnctl.data.streams import SIDES, ForgetRetain
from unlearnctl.objectives.token_norms import Norms
from unlearnctl.ops.precision import full
from unlearnctl.probes.on_texts import batches_of

if TYPE_CHECKING:
    from unlearnctl.models.partial.decoder import Decoder

POSITIONS = 4  # the first of each text, where sinks are


@torch.no_grad()
def token_norms(
    decoder: Decoder, data: ForgetRetain, layers: Sequence[int], texts: int = 32, batch_size: int = 8
) -> Norms:
    """Measure residual norms after some blocks over the first `texts` forget and retain texts, topics taking turns.

    The batches are the same on every process, whatever share of the training batches it will get.
    """
    norms: list[Float[Tensor, "N L"]] = []
    places: list[Tensor] = []
    for side in SIDES:
        for batch in batches_of(decoder, data, side, texts, batch_size):
            norms.append(_counted(decoder, batch, layers))
            places.append((batch.attention_mask.cumsum(-1) - 1)[batch.mask].cpu())
    found, place = torch.cat(norms), torch.cat(places)
    by_position = torch.stack([_median(found[place == position]) for position in range(POSITIONS)], 1)
    return Norms(tuple(layers), _median(found), by_position)


def _counted(decoder: Decoder, batch: Batch, layers: Sequence[int]) -> Float[Tensor, "N L"]:
    """Return the norms of the tokens that count, in float32 on the CPU."""
    entering, calls = decoder.record(batch)
    _, kept = decoder.run(range(max(layers) + 1), entering, calls, layers)
    return torch.stack([full(kept[layer]).norm(dim=-1)[batch.mask].float().cpu() for layer in layers], 1)


def _median(norms: Float[Tensor, "N L"]) -> Float[Tensor, " L"]:
    return norms.median(0).values if len(norms) else norms.new_zeros(norms.shape[1])
