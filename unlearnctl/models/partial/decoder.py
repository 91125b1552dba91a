"""A Hugging Face decoder, run in parts: some of its blocks, or its head alone.

Architectures differ in what their blocks take (masks, positions, rotary embeddings) and in what their heads do
(scaling, soft caps). Nothing of that is written here: the model's own forward runs, with other modules in its blocks'
place (`stand_ins`), so that a new architecture needs no code.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from unlearnctl.data.batch import Batch
from unlearnctl.models.partial.split_block import Call, stream_of
from unlearnctl.models.partial.stand_ins import Inject, Peek, Recorder, Released

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Decoder:
    """Runs parts of a model exactly as the model would: blocks get the arguments that its own forward prepares.

    Args:
        model: whole causal LM, or a trunk (base model).
        blocks: path of the block list, as the whole causal LM names it.
    """

    def __init__(self, model: PreTrainedModel, blocks: str) -> None:
        self.model = model
        self._strip = trunk_prefix(model)
        self._parent, _, self._list_name = self.own_name(blocks).rpartition(".")
        # How many outputs a block returns after the stream; None: the stream itself, not in a tuple.
        self._others: int | None = None
        self._peeked = False

    def own_name(self, name: str) -> str:
        """Return what this model calls a parameter or module of the whole causal LM."""
        return name.removeprefix(self._strip)

    @property
    def blocks(self) -> nn.ModuleList:
        """Return the decoder's own blocks."""
        return getattr(self.model.get_submodule(self._parent), self._list_name)

    def record(self, batch: Batch) -> tuple[Tensor, list[Call]]:
        """Return the stream that enters block 0, [B, T, D], and the other arguments of each block's call.

        No block runs: the model's own forward prepares the arguments, and stand-ins keep them.
        """
        # Some blocks return the stream and others a tuple, which their model unpacks. A stand-in has to do the same, or
        # the model would unpack the stream along its batch.
        if not self._peeked:
            self._peek(batch)
        # One recorder per block: models that mix sliding and full attention give each block a mask of its own, and a
        # batch without padding may have no mask at all.
        recorders = [Recorder(block, self._others) for block in self.blocks]
        with self._as_blocks(recorders):
            self._embed(batch)
        return recorders[0].entering, [(r.args, r.kwargs) for r in recorders]

    def _embed(self, batch: Batch) -> None:
        # use_cache is on by default, and a captured cache would make a second pass attend to the first's keys.
        self._body(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False)

    @torch.no_grad()
    def _peek(self, batch: Batch) -> None:
        """Run one block once to see whether it returns a tuple, which its model would then unpack."""
        peek = Peek(next(block for block in self.blocks if not isinstance(block, Released)))
        with self._as_blocks([peek]):
            self._embed(batch)
        self._others = len(peek.out) - 1 if isinstance(peek.out, tuple | list) else None
        self._peeked = True

    @property
    def _body(self) -> nn.Module:
        """Return the part of the model under its head."""
        body = self.model.base_model
        if body is self.model and not self._strip:
            # Llama 4 declares the name of a child that it does not have.
            return self.model.get_submodule(self._parent.partition(".")[0])
        return body

    def run(
        self, indices: range, hidden: Tensor, calls: Sequence[Call], layers: Collection[int]
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Run the blocks `indices`; return the stream after them, and after each that is among `layers`."""
        kept = {}
        for index in indices:
            args, kwargs = calls[index]
            hidden = stream_of(self.blocks[index](hidden, *args, **kwargs))
            if index in layers:
                kept[index] = hidden
        return hidden, kept

    def head(self, hidden: Tensor) -> Tensor:
        """Compute the logits of residual states [B, T, D], with the model's own final norm, head and soft cap."""
        # Not `lm_head(norm(hidden))`: Gemma 2 caps the logits, Cohere and Granite scale them, OPT projects before.
        with self._as_blocks([self._inject(hidden)]):
            return self.model(input_ids=_any_ids(hidden), use_cache=False).logits

    def final(self, hidden: Tensor) -> Tensor:
        """Apply the model's own final norm to residual states [B, T, D]."""
        with self._as_blocks([self._inject(hidden)]):
            return self._body(input_ids=_any_ids(hidden), use_cache=False).last_hidden_state

    def _inject(self, hidden: Tensor) -> Inject:
        return Inject(self.blocks[-1], hidden, self._others)

    @contextmanager
    def _as_blocks(self, stand_ins: Sequence[nn.Module]) -> Iterator[None]:
        parent = self.model.get_submodule(self._parent)
        own = parent._modules[self._list_name]
        parent._modules[self._list_name] = nn.ModuleList(stand_ins)
        try:
            yield
        finally:
            # Also after an error, because a step that ran out of memory is tried again on this model
            # (`trainer.on_oom`).
            parent._modules[self._list_name] = own


def _any_ids(hidden: Tensor) -> Tensor:
    """Return ids to start a pass whose stream is then replaced.

    Not `inputs_embeds`, which would do for most: some models read more than embeddings from the ids.
    """
    return torch.zeros(hidden.shape[:2], dtype=torch.long, device=hidden.device)


def trunk_prefix(model: PreTrainedModel) -> str:
    """Return the prefix of the whole causal LM's parameter names that a trunk's names lack; empty for a whole model."""
    return "" if model.get_output_embeddings() is not None else f"{model.base_model_prefix}."
