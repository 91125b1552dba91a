"""Fitting probes on the texts of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from unlearnctl.data.batch import Batch
from unlearnctl.data.streams import SIDES, ForgetRetain
from unlearnctl.probes.fit import Probes, fit_probes
from unlearnctl.probes.states import pooled_states
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from unlearnctl.models.partial.decoder import Decoder


def fit_on(
    decoder: Decoder,
    data: ForgetRetain,
    layers: Sequence[int],
    seed: int,
    texts: int = 1024,
    batch_size: int = 16,
    pool: str = "mean",
    topic: str | None = None,
) -> Probes:
    """Fit probes on a model's states over the first `texts` forget and retain texts, of one topic or of all.

    Raises:
        UserError: fewer than eight texts on a side, so that nothing could be held out.
    """
    states = {}
    for side in SIDES:
        states[side] = pooled_states(
            decoder, batches_of(decoder, data, side, texts, batch_size, topic), layers, pool
        )
        if len(states[side]) < 8:
            raise UserError(
                f"data.{side}: {len(states[side])} texts are too few to fit a probe; 8 is the least"
            )
    return fit_probes(states["forget"], states["retain"], layers, seed)


def batches_of(
    decoder: Decoder, data: ForgetRetain, side: str, texts: int, size: int, topic: str | None = None
) -> Iterator[Batch]:
    """Yield the first `texts` texts of a side, of one topic or of all in turns, in batches on the model's device."""
    topics = [topic] if topic else data.topics
    most = max(len(data.rows[side][name]) for name in topics)
    turns = -(-min(texts, most * len(topics)) // (size * len(topics)))
    for turn in range(turns):
        for place, name in enumerate(data.topics):
            if name in topics:
                for micro in data.micro_batches(turn * len(data.topics) + place, size, size):
                    yield micro[side].to(decoder.model.device)
