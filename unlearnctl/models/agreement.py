"""Checks, right after loading, that a model run in parts gives what its own forward gives.

The engine knows no architecture by name; it relies on blocks that can be called one by one. This check is what makes
that safe: a model for which it does not hold is refused before anything is trained or measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unlearnctl.data.batch import IGNORE, Batch
from unlearnctl.models.partial.decoder import Decoder
from unlearnctl.models.partial.split_block import stream_of
from unlearnctl.utils.errors import UserError, brief

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LENGTH = 8
# Relative to a tensor's largest value. Some kernels add up in a different order each time; real errors are far larger.
TOLERANCE, ROUNDINGS = 1e-3, 8


@torch.no_grad()
def check_blocks(model: PreTrainedModel, blocks: str) -> None:
    """Compare every block's output, and the logits, on one small batch.

    Args:
        model: whole causal LM, or a trunk.
        blocks: path of the block list, as the whole causal LM names it.

    Raises:
        UserError: outputs differ, blocks cannot be called one by one, or a later token changes earlier outputs.
    """
    where = f"model.path={model.config.name_or_path}: unlearning is not supported for {type(model).__name__}"
    decoder, batch = Decoder(model, blocks), _sample(model)
    own, logits = _own_pass(decoder, batch)
    try:
        entering, calls = decoder.record(batch)
        last, found = decoder.run(range(len(own)), entering, calls, range(len(own)))
        head = decoder.head(last) if logits is not None else None
    except Exception as error:  # an unusual forward may fail on our stand-ins in any way
        raise UserError(f"{where}: its blocks cannot be called one by one ({brief(error)})") from error
    for index, theirs in enumerate(own):
        if theirs.shape[:2] != batch.input_ids.shape or theirs.ndim != 3:
            raise UserError(
                f"{where}: its blocks pass on {list(theirs.shape)} instead of one vector per token"
            )
        if not _close(found[index], theirs, batch):
            raise UserError(
                f"{where}: block {index} called alone does not give the output that it gives in the model"
            )
        if not _close(theirs[:1, :-1], theirs[1:2, :-1], None):
            raise UserError(f"{where}: it attends to later tokens, so it is not a causal language model")
    if logits is not None and head is not None and not _close(head, logits, batch):
        raise UserError(f"{where}: its head called alone does not give the logits that it gives in the model")


def _own_pass(decoder: Decoder, batch: Batch) -> tuple[list[Tensor], Tensor | None]:
    """Return each block's output in the model's own forward, and the logits (None for a trunk)."""
    own: list[Tensor] = []
    # Cloned, because a block may change its input in place, and that is what was kept of the block before.
    handles = [
        block.register_forward_hook(lambda module, args, out: own.append(stream_of(out).clone()))
        for block in decoder.blocks
    ]
    try:
        out = decoder.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return own, getattr(out, "logits", None)


def _sample(model: PreTrainedModel) -> Batch:
    """Build a batch of two rows that differ only in their last token, and a shorter, padded one.

    The two rows expose models that look ahead; the shorter one exposes masks that get lost.
    """
    last = model.config.get_text_config().vocab_size - 1
    ids = torch.tensor([[1 + (7 * i) % last for i in range(LENGTH)]] * 3)
    ids[1, -1] = 1 + int(ids[1, -1]) % last
    attention = torch.ones_like(ids)
    attention[2, LENGTH // 2 :] = 0
    mask = attention.bool()
    return Batch(
        input_ids=ids,
        attention_mask=attention,
        labels=torch.where(mask, ids, IGNORE),
        mask=mask,
        index=torch.arange(3),
        tokens=int(mask.sum()),
        predictions=int(mask.sum()) - 3,
        sequences=3,
        topic=0,
    ).to(model.device)


def _close(found: Tensor, theirs: Tensor, batch: Batch | None) -> bool:
    """Return whether two tensors agree; with a batch, on its real tokens only, since padding may hold anything."""
    if found.shape != theirs.shape:
        return False
    if batch is not None:
        real = batch.attention_mask.bool()
        found, theirs = found[real], theirs[real]
    allowed = max(TOLERANCE, ROUNDINGS * torch.finfo(theirs.dtype).eps) * float(theirs.abs().max())
    return bool(((found - theirs).abs() <= allowed).all())
