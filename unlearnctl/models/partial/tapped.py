"""The engine: runs only what an objective reads, the frozen prefix once, the reference without a second model.

Axes: B sequences, T positions, D hidden size, V vocabulary, M inputs of the first matrix that trains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unlearnctl.data.batch import Batch
from unlearnctl.models.partial.activation_cache import (
    ENTERING,
    LOGPROBS,
    MATRIX,
    REFERENCE,
    STREAM,
    ActivationCache,
    split_rows,
)
from unlearnctl.models.partial.decoder import Call, Decoder
from unlearnctl.models.partial.masters import hold_masters, slots_of
from unlearnctl.models.partial.reference import Originals
from unlearnctl.models.partial.split_block import Cut, find_cut
from unlearnctl.models.partial.stand_ins import Released
from unlearnctl.objectives.base import Needs, Outputs, View
from unlearnctl.ops.logprobs import LOGITS, token_logprobs

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Prefix:
    """The frozen part of a pass: everything before block `start`, or into that block up to its trained matrix."""

    hidden: Tensor  # [B, T, D] entering the block; with a `matrix`, the stream that its output joins
    matrix: Tensor | None  # [B, T, M] input of the block's one trained matrix
    start: int
    kept: Mapping[int, Tensor]  # layer → its output, for layers that are read inside the prefix
    calls: Sequence[Call]  # the arguments of each block


def can_remember(needs: Mapping[str, Needs], hidden: bool) -> bool:
    """Return whether everything that an objective reads of the reference can be cached by row.

    Logits are too large to cache. Token log-probabilities are small; hidden states are cached only if `hidden` is set.
    """
    asked = [need for need in needs.values() if need.reference]
    return bool(asked) and not any(n.logits or n.padding or (n.layers and not hidden) for n in asked)


class TappedModel(nn.Module):
    """A Hugging Face decoder that gives objectives what they declared, and runs nothing else.

    Blocks below the lowest trainable one are the same in policy and reference: they run once, without gradients.
    Blocks above the highest layer read never run. The reference is not a second model but the policy with the
    original values of the trainable tensors swapped in under no_grad. Blocks get exactly the arguments that the
    model's own forward prepares for them (masks, rotary embeddings, sliding windows).

    What the frozen part computes can be cached by row (`cached`, `remember`), or shared with the other members of
    a sweep within one step (`memo`, a dictionary that the sweep clears after each step).

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
        self.model = model
        self.lowest = lowest
        self.needs = dict(needs)
        self.decoder = Decoder(model, blocks)
        self.trainable = list(trainable)
        parameters = dict(model.named_parameters())
        chosen = {self.decoder.own_name(name) for name in trainable}
        # Autograd then records nothing below the first trained matrix, which saves most of a step's memory.
        for name, parameter in parameters.items():
            parameter.requires_grad_(name in chosen)
        self._slots = slots_of(model, {id(parameters[name]): name for name in chosen})
        wanted = any(need.reference for need in self.needs.values())
        self._originals = Originals(model, self._slots, chosen if wanted else ())
        self._cut: Cut | bool | None = None if lowest >= 0 else False  # None: not looked for yet; False: none
        self._first = tuple(name for name in trainable if name.startswith(f"{blocks}.{lowest}."))
        self.cached = ActivationCache()
        self.remembered = ActivationCache()
        self.memo: MutableMapping[object, Prefix] | None = None
        self.drop_masters: Callable[[], None] = lambda: None

    def hold_masters(self) -> None:
        """Train float32 masters of what is stored in half precision; `drop_masters` rounds them back."""
        self.drop_masters = hold_masters(self._slots)

    def trained(self) -> dict[str, nn.Parameter]:
        """Return the parameters that train, by their names in the whole causal LM."""
        parameters = dict(self.model.named_parameters())
        return {name: parameters[self.decoder.own_name(name)] for name in self.trainable}

    def finite(self) -> bool:
        """Tell whether every weight that trains is a finite number as it is computed with, on this process."""
        return all(bool(getattr(module, leaf).detach().isfinite().all()) for module, leaf, _ in self._slots)

    def forward(self, batches: Mapping[str, Batch]) -> dict[str, View]:
        """Compute a view of every side that the objective reads."""
        # All sides in one call: DDP synchronises gradients once per forward of the module that it wraps, so stopping
        # early must happen in here, not by calling the inner model or by raising out of a hook.
        return {side: self.view(batches[side], need) for side, need in self.needs.items()}

    def view(self, batch: Batch, need: Needs) -> View:
        """Compute the policy's outputs and, if declared, the reference's, from one pass over the frozen prefix."""
        prefix = self._shared_prefix(batch, need)
        policy = self._suffix(prefix, batch, need)
        if not need.reference:
            return View(batch, policy)
        if not self._originals.values:  # dropped by `remember`
            return View(batch, policy, self._recall(batch, need))
        # After the policy, and on the same prefix in the same shape: other shapes choose other kernels, whose rounding
        # the retain weight would multiply.
        with self._originals.in_place():
            if self.lowest < 0:  # the embedding trains too, so not even block 0's input is shared
                prefix = self._prefix(batch, need)
            return View(batch, policy, self._suffix(prefix, batch, need))

    @torch.no_grad()
    def read(self, batch: Batch, need: Needs) -> View:
        """Compute `view` without gradients.

        A method of its own, because FSDP gathers parameters only in methods that are registered with it.
        """
        return self.view(batch, need)

    def top(self, need: Needs) -> int:
        """Return the index of the highest block that a side runs."""
        return len(self.decoder.blocks) - 1 if need.head else max(need.layers)

    def start(self, need: Needs) -> int:
        """Return the index of the first block of a side that is not part of the frozen prefix."""
        # `lowest` is −1 where the embedding trains: nothing is frozen. A side that ends below `lowest` is all frozen.
        return min(max(self.lowest, 0), self.top(need) + 1)

    def frozen_layers(self, need: Needs) -> list[int]:
        """Return the layers that a side reads inside the frozen prefix."""
        return [layer for layer in need.layers if layer < self.start(need)]

    @torch.no_grad()
    def frozen_rows(
        self, batch: Batch, need: Needs, prefix: bool, matrix: bool, reference: bool
    ) -> dict[str, Tensor]:
        """Compute by row what the frozen prefix gives, for `cached`, and what the reference gives, for `remember`.

        To be called before the first step, while the policy still is the reference.

        Args:
            batch: rows to compute.
            need: what the side reads.
            prefix: compute the frozen prefix.
            matrix: compute it up to the input of the first trained matrix, where the block can be split there.
            reference: compute what the side reads of the reference.
        """
        below = self._prefix(batch, need, deep=matrix)
        found: dict[object, Tensor] = {}
        if prefix:
            found.update(below.kept.items())
            if below.matrix is None:
                found[ENTERING] = below.hidden
            else:
                found |= {STREAM: below.hidden, MATRIX: below.matrix}
        if reference and need.reference:
            outputs = self._suffix(below, batch, need)
            found |= {f"{REFERENCE}{layer}": values for layer, values in outputs.hidden.items()}
            if outputs.logprobs is not None:
                found[LOGPROBS] = outputs.logprobs
        rows: dict[str, Tensor] = {}
        for what, values in found.items():
            rows |= split_rows(values, batch, what)
        return rows

    def remember(self, outputs: ActivationCache) -> None:
        """Take the reference's outputs from this cache from now on, and free the tensors that computed them."""
        self.remembered, self._originals.values = outputs, {}

    def _recall(self, batch: Batch, need: Needs) -> Outputs:
        hidden = {layer: self.remembered.get(batch, f"{REFERENCE}{layer}") for layer in need.layers}
        return Outputs(hidden, None, self.remembered.get(batch, LOGPROBS) if need.logprobs else None)

    def reference_tensors(self) -> list[Tensor]:
        """Return the original values of the trainable tensors, if they are still held."""
        return list(self._originals.values.values())

    def release_prefix(self) -> None:
        """Free the blocks below the first that trains: every row's output of them is cached."""
        for index in range(min(self.start(need) for need in self.needs.values())):
            self.decoder.blocks[index] = Released(self.decoder.blocks[index])

    def _shared_prefix(self, batch: Batch, need: Needs) -> Prefix:
        if self.memo is None or self.lowest < 0:
            return self._prefix(batch, need)
        # Members may train different matrices of the first block, and so split it at different places.
        key = (*batch.keys, *self._first, self.start(need), *self.frozen_layers(need))
        if key not in self.memo:
            self.memo[key] = self._prefix(batch, need)
        return self.memo[key]

    def _prefix(self, batch: Batch, need: Needs, deep: bool = True) -> Prefix:
        start = self.start(need)
        # No gradients here: autograd would otherwise keep the activations of the frozen blocks.
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.lowest < 0):
            # Recorded even when the rows are cached: the blocks above need this batch's masks and positions.
            entering, calls = self.decoder.record(batch)
            # A cache has one of the two: STREAM, with MATRIX, if the block could be split when it was filled.
            for what in (ENTERING, STREAM):
                if self.cached.has(batch, what):
                    kept = {layer: self.cached.get(batch, layer) for layer in self.frozen_layers(need)}
                    matrix = self.cached.get(batch, MATRIX) if what == STREAM else None
                    return Prefix(self.cached.get(batch, what), matrix, start, kept, calls)
            hidden, kept = self.decoder.run(range(start), entering, calls, need.layers)
            # `start` may lie above all that this side reads; then there is no block to split.
            if deep and start <= self.top(need) and (cut := self._find_cut(hidden, calls[start])):
                return Prefix(*cut.frozen(hidden, calls[start]), start, kept, calls)
        return Prefix(hidden, None, start, kept, calls)

    def _find_cut(self, hidden: Tensor, call: Call) -> Cut | None:
        if self._cut is None:
            # Found on the first batch and kept: where a block can be split depends on its code, not on the data.
            trained = {id(parameter) for parameter in self.trained().values()}
            self._cut = find_cut(self.decoder.blocks[self.lowest], trained, hidden, call) or False
        return self._cut if isinstance(self._cut, Cut) else None

    def _suffix(self, prefix: Prefix, batch: Batch, need: Needs) -> Outputs:
        hidden = prefix.hidden
        kept = dict(prefix.kept)
        start = prefix.start
        if prefix.matrix is not None:
            cut = self._find_cut(hidden, prefix.calls[start])
            assert cut is not None, "the block cannot be split here, yet its matrix inputs were cached"
            hidden = cut.resume(hidden, prefix.matrix)
            # The prefix could not keep this block's output: it exists only now.
            if start in need.layers:
                kept[start] = hidden
            start += 1
        hidden, above = self.decoder.run(range(start, self.top(need) + 1), hidden, prefix.calls, need.layers)
        head = self.decoder.head
        logits = head(hidden) if need.logits else None
        logprobs = None
        if need.logprobs:
            chunk = max(1, LOGITS // self.model.config.get_text_config().vocab_size)
            logprobs = token_logprobs(head, hidden, batch.labels, batch.attention_mask, chunk)
        final = self.decoder.final(hidden) if need.final else None
        return Outputs({**kept, **above}, logits, logprobs, final)

    def take_shards(self) -> None:
        """Adapt to parameters that FSDP has just sliced: hold the reference's slices, and never split a block.

        A block's parameters are gathered only while the block itself runs, so its modules cannot be called alone.
        """
        self._originals.take_shards()
        self._cut = False

    def _apply(self, fn: Any, recurse: bool = True) -> TappedModel:
        super()._apply(fn, recurse)
        # Not buffers, which would be saved with the model and broadcast by DDP, but they must follow `.to()`.
        self._originals.convert(fn)
        return self
