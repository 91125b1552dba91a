"""A Hugging Face decoder in parts: how its blocks are called, some of its blocks, its head."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch import Tensor, nn

from unlearnctl.data.batch import Batch
from unlearnctl.models.cut import Call
from unlearnctl.models.stand_ins import Inject, Recorder

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Decoder:
    """Runs parts of a model exactly as the model would: blocks get the arguments that its own forward makes.

    Args:
        model: whole causal LM, or a trunk (base model).
        blocks: path of the block list, as the whole causal LM names it.
    """

    def __init__(self, model: PreTrainedModel, blocks: str) -> None:
        self.model = model
        self._strip = f"{model.base_model_prefix}." if model.base_model is model else ""
        self._parent, _, self._list_name = self.own_name(blocks).rpartition(".")

    def own_name(self, name: str) -> str:
        """A name of the whole causal LM, as this model has it."""
        return name.removeprefix(self._strip)

    @property
    def blocks(self) -> nn.ModuleList:
        """The decoder's own blocks."""
        return getattr(self.model.get_submodule(self._parent), self._list_name)

    def record(self, batch: Batch) -> tuple[Tensor, list[Call]]:
        """The stream that enters block 0, [B, T, D], and the other arguments of each block's call."""
        recorders = [Recorder(block) for block in self.blocks]
        with self._as_blocks(nn.ModuleList(recorders)):
            self.model.base_model(
                input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False
            )
        return recorders[0].entering, [(r.args, r.kwargs) for r in recorders]

    def run(
        self, indices: range, hidden: Tensor, calls: Sequence[Call], layers: Collection[int]
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """The stream after the blocks `indices`, and after each of them that is among `layers`."""
        kept = {}
        for index in indices:
            args, kwargs = calls[index]
            out = self.blocks[index](hidden, *args, **kwargs)
            hidden = out[0] if isinstance(out, tuple) else out
            if index in layers:
                kept[index] = hidden
        return hidden, kept

    def head(self, hidden: Tensor) -> Tensor:
        """Logits of residual states [B, T, D]: the model's own final norm, head, scaling and soft cap."""
        with self._as_blocks(nn.ModuleList([Inject(hidden)])):
            return self.model(inputs_embeds=hidden, use_cache=False).logits

    def final(self, hidden: Tensor) -> Tensor:
        """Residual states [B, T, D] after the model's own final norm."""
        with self._as_blocks(nn.ModuleList([Inject(hidden)])):
            return self.model.base_model(inputs_embeds=hidden, use_cache=False).last_hidden_state

    @contextmanager
    def _as_blocks(self, stand_ins: nn.ModuleList) -> Iterator[None]:
        parent = self.model.get_submodule(self._parent)
        own = parent._modules[self._list_name]
        parent._modules[self._list_name] = stand_ins
        try:
            yield
        finally:
            parent._modules[self._list_name] = own
