"""The engine: run just what an objective reads, the frozen prefix once, the reference without a second model.

Axes: B sequences, T positions, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unlearnctl.data.batch import Batch
from unlearnctl.models.rows import ENTERING, LOGPROBS, Rows, join, lacks, split
from unlearnctl.models.stand_ins import Inject, Recorder, Released
from unlearnctl.objectives.base import Needs, Outputs, View
from unlearnctl.ops.logprobs import token_logprobs

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Prefix:
    """The stream that enters block `start`, what was read on the way, and how each block is called."""

    hidden: Tensor
    start: int
    kept: Mapping[int, Tensor]
    calls: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]


class TappedModel(nn.Module):
    """A Hugging Face decoder that gives objectives what they declared, and runs nothing else.

    Blocks below the lowest trainable one are the same in policy and reference: they run once, without grad.
    Blocks above the highest layer read never run. The reference is the policy with the original values of
    the trainable tensors swapped in under no_grad, not a second model. Blocks are called with the very
    arguments that the model's own forward makes for them (masks, rotary embeddings, sliding windows).

    What the frozen part computes can be kept by row (`cached`, `remember`) or shared with other members of a
    sweep for the length of a step (`memo`, a dictionary that whoever runs them clears).

    Args:
        model: whole causal LM, or a trunk (base model) when no side needs logits.
        blocks: path of the block list, as the whole causal LM names it.
        trainable: parameters that train, as the whole causal LM names them; all others are frozen here.
        lowest: first block that trains (see `models.trainable.lowest_block`).
        needs: what the objective declared.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        blocks: str,
        trainable: Sequence[str],
        lowest: int,
        needs: Mapping[str, Needs],
    ) -> None:
        super().__init__()
        self.model, self.lowest, self.needs = model, lowest, dict(needs)
        self._strip = f"{model.base_model_prefix}." if model.base_model is model else ""
        self._parent, _, self._list_name = blocks.removeprefix(self._strip).rpartition(".")
        self.trainable = list(trainable)
        parameters = dict(model.named_parameters())
        chosen = {name.removeprefix(self._strip) for name in trainable}
        for name, parameter in parameters.items():
            parameter.requires_grad_(name in chosen)
        self._slots = _slots(model, {id(parameters[name]): name for name in chosen})
        wanted = any(need.reference for need in self.needs.values())
        self._reference = {n: parameters[n].detach().clone() for n in chosen} if wanted else {}
        self.cached: Rows = {}
        self.remembered: Rows = {}
        self.memo: MutableMapping[object, Prefix] | None = None

    @property
    def blocks(self) -> nn.ModuleList:
        """The decoder's own blocks."""
        return getattr(self.model.get_submodule(self._parent), self._list_name)

    def trained(self) -> dict[str, nn.Parameter]:
        """Name in the whole causal LM → parameter, of what trains."""
        parameters = dict(self.model.named_parameters())
        return {name: parameters[name.removeprefix(self._strip)] for name in self.trainable}

    def forward(self, batches: Mapping[str, Batch]) -> dict[str, View]:
        """Views of every side that the objective reads."""
        return {side: self.view(batches[side], need) for side, need in self.needs.items()}

    def view(self, batch: Batch, need: Needs) -> View:
        """Policy outputs and, if declared, the reference's, from one pass over the frozen prefix."""
        prefix = self._shared_prefix(batch, need)
        policy = self._suffix(prefix, batch, need)
        if not need.reference:
            return View(batch, policy)
        if not self._reference:  # `remember` let it go
            return View(batch, policy, Outputs(logprobs=join(self.remembered, batch, LOGPROBS)))
        with torch.no_grad(), self._as_reference():
            if self.lowest < 0:  # the embedding trains too, so not even block 0's input is shared
                prefix = self._prefix(batch, need)
            return View(batch, policy, self._suffix(prefix, batch, need))

    def top(self, need: Needs) -> int:
        """The highest block that a side runs."""
        return len(self.blocks) - 1 if need.head else max(need.layers)

    def start(self, need: Needs) -> int:
        """The first block of a side that is not frozen prefix."""
        return min(max(self.lowest, 0), self.top(need) + 1)

    def frozen_layers(self, need: Needs) -> list[int]:
        """Layers that are read inside the frozen prefix."""
        return [layer for layer in need.layers if layer < self.start(need)]

    @torch.no_grad()
    def prefix_rows(self, batch: Batch, need: Needs) -> dict[str, Tensor]:
        """All that the frozen prefix computes for these rows, for `cached`."""
        prefix = self._prefix(batch, need)
        kept = {key: v for layer, h in prefix.kept.items() for key, v in split(h, batch, layer).items()}
        return {**split(prefix.hidden, batch, ENTERING), **kept}

    @torch.no_grad()
    def reference_rows(self, batch: Batch, need: Needs) -> dict[str, Tensor]:
        """The reference's log-probabilities, for `remember`; before the first step they are the policy's."""
        policy = self._suffix(self._prefix(batch, need), batch, need)
        assert policy.logprobs is not None
        return split(policy.logprobs, batch, LOGPROBS)

    def reference_tensors(self) -> list[Tensor]:
        """The original values of what trains, as far as they are held."""
        return list(self._reference.values())

    def remembers(self) -> bool:
        """True if token log-probabilities are all that the objective asks of the reference."""
        asked = [need for need in self.needs.values() if need.reference]
        return bool(asked) and all(n.logprobs and not n.logits and not n.layers for n in asked)

    def remember(self, rows: Rows) -> None:
        """Take the reference's log-probabilities from these rows from now on, and let its tensors go."""
        self.remembered, self._reference = rows, {}

    def release_prefix(self) -> None:
        """Let go of the blocks below the first that trains: every row is cached."""
        for index in range(min(self.start(need) for need in self.needs.values())):
            self.blocks[index] = Released(self.blocks[index])

    def _shared_prefix(self, batch: Batch, need: Needs) -> Prefix:
        if self.memo is None or self.lowest < 0:
            return self._prefix(batch, need)
        key = (*batch.keys, self.start(need), *self.frozen_layers(need))
        if key not in self.memo:
            self.memo[key] = self._prefix(batch, need)
        return self.memo[key]

    def _prefix(self, batch: Batch, need: Needs) -> Prefix:
        start = self.start(need)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.lowest < 0):
            recorders = [Recorder(block) for block in self.blocks]
            with self._as_blocks(nn.ModuleList(recorders)):
                self.model.base_model(
                    input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False
                )
            calls = [(r.args, r.kwargs) for r in recorders]
            if start and not lacks(self.cached, batch, ENTERING):
                hidden = join(self.cached, batch, ENTERING)
                kept = {layer: join(self.cached, batch, layer) for layer in self.frozen_layers(need)}
            else:
                hidden, kept = self._run(range(start), recorders[0].entering, calls, need)
        return Prefix(hidden, start, kept, calls)

    def _suffix(self, prefix: Prefix, batch: Batch, need: Needs) -> Outputs:
        indices = range(prefix.start, self.top(need) + 1)
        hidden, kept = self._run(indices, prefix.hidden, prefix.calls, need)
        logits = self.head(hidden) if need.logits else None
        logprobs = (
            token_logprobs(self.head, hidden, batch.labels, batch.attention_mask) if need.logprobs else None
        )
        return Outputs({**prefix.kept, **kept}, logits, logprobs)

    def _run(
        self, indices: range, hidden: Tensor, calls: Sequence[tuple[tuple, dict]], need: Needs
    ) -> tuple[Tensor, dict[int, Tensor]]:
        kept = {}
        for index in indices:
            args, kwargs = calls[index]
            out = self.blocks[index](hidden, *args, **kwargs)
            hidden = out[0] if isinstance(out, tuple) else out
            if index in need.layers:
                kept[index] = hidden
        return hidden, kept

    def head(self, hidden: Tensor) -> Tensor:
        """Logits of residual states [B, T, D]: the model's own final norm, head, scaling and soft cap."""
        with self._as_blocks(nn.ModuleList([Inject(hidden)])):
            return self.model(inputs_embeds=hidden, use_cache=False).logits

    @contextmanager
    def _as_blocks(self, stand_ins: nn.ModuleList) -> Iterator[None]:
        parent = self.model.get_submodule(self._parent)
        own = parent._modules[self._list_name]
        parent._modules[self._list_name] = stand_ins
        try:
            yield
        finally:
            parent._modules[self._list_name] = own

    @contextmanager
    def _as_reference(self) -> Iterator[None]:
        # Never around a policy pass: a checkpointed block would recompute with the wrong weights.
        held = [(module, leaf, module._parameters[leaf]) for module, leaf, _ in self._slots]
        for module, leaf, name in self._slots:
            value = self._reference[name]
            module._parameters[leaf] = value  # type: ignore[assignment]
        try:
            yield
        finally:
            for module, leaf, parameter in held:
                module._parameters[leaf] = parameter

    def _apply(self, fn: Any, recurse: bool = True) -> TappedModel:
        super()._apply(fn, recurse)
        self._reference = {name: fn(value) for name, value in self._reference.items()}
        return self


def _slots(model: nn.Module, wanted: Mapping[int, str]) -> list[tuple[nn.Module, str, str]]:
    """Every place (module, attribute) that holds a wanted parameter: tied weights have several."""
    return [
        (module, leaf, wanted[id(parameter)])
        for module in model.modules()
        for leaf, parameter in module._parameters.items()
        if parameter is not None and id(parameter) in wanted
    ]
