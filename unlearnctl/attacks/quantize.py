"""Quantise: does rounding the weights undo an update that is smaller than the rounding? (arXiv 2410.16454)"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Annotated

import torch
from annotated_types import Ge, Le, MinLen
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from unlearnctl.attacks.base import Target, Variant, kept
from unlearnctl.models.skeleton import linear_kinds
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

KEY = "attack.quantize"
Widths = Annotated[list[Annotated[int, Ge(2), Le(16)]], MinLen(1)]


class Quantize:
    """Symmetric rounding to nearest, and back, of every linear weight in the blocks, including stacks of experts.

    Activations and routers are left alone. A variant's label has its bits and, if not all matrices of the blocks are
    rounded, their share.

    Args:
        bits: widths; each is a variant.
        group_size: number of inputs that share a scale; None: all inputs of an output channel.
        head: also round the output head.
    """

    asks: tuple[str, ...] = ()

    def __init__(
        self,
        bits: Widths,
        group_size: PositiveInt | None = None,
        head: bool = False,
    ) -> None:
        self.bits, self.group_size, self.head = bits, group_size, head

    def validate(self, tokenizer: PreTrainedTokenizerBase, blocks: int) -> None:
        """Do nothing: no files are read."""

    def variants(self, target: Target) -> Iterator[Variant]:
        """Yield one variant per width."""
        weights = linear_weights(target.model, target.blocks, self.head)
        for name, (weight, transposed) in weights.items():
            if self.group_size and weight.shape[-2 if transposed else -1] % self.group_size:
                raise UserError(
                    f"{KEY}.group_size={self.group_size}: does not divide the inputs of {name} {list(weight.shape)}"
                )
        share = rounded_share(target.model, target.blocks, weights)
        note = "" if share > 0.9995 else f" ({share:.1%} of the blocks' matrices)"
        for bits in self.bits:
            with kept(target.model, weights):
                with torch.no_grad():
                    for weight, transposed in weights.values():
                        for matrix in weight if weight.ndim == 3 else weight[None]:
                            rows = matrix.T if transposed else matrix  # outputs first
                            rows.copy_(round_trip(rows, bits, self.group_size))
                settings = {"bits": bits, "group_size": self.group_size, "rounded": round(share, 4)}
                yield Variant(f"{bits} bits{note}", settings)


def linear_weights(model: PreTrainedModel, blocks: str, head: bool) -> dict[str, tuple[nn.Parameter, bool]]:
    """Map names to weights, and to whether each is stored transposed (inputs first).

    These are the weights of the blocks' linear modules and stacks of experts and, if asked, of the head.

    Raises:
        UserError: there are none.
    """
    found: dict[str, tuple[nn.Parameter, bool]] = {}
    hidden = model.config.get_text_config().hidden_size
    for path, module in model.get_submodule(blocks).named_modules():
        for leaf, weight in module.named_parameters(recurse=False):
            if isinstance(module, linear_kinds()) and leaf == "weight":
                found[f"{blocks}.{path}.{leaf}"] = weight, not isinstance(module, nn.Linear)
            elif weight.ndim == 3 and not isinstance(module, nn.Conv1d):
                found[f"{blocks}.{path}.{leaf}"] = weight, _is_transposed(module, leaf, weight, hidden)
    if not found:
        raise UserError(
            f"attack=[quantize]: the blocks of this model ({blocks}) hold no linear module to round"
        )
    output = model.get_output_embeddings()
    if head and output is not None:
        names = {id(p): name for name, p in model.named_parameters()}
        found[names[id(output.weight)]] = output.weight, False
    return found


def _is_transposed(module: nn.Module, leaf: str, stack: Tensor, hidden: int) -> bool:
    """Tell whether a stack [E, ., .] has the inputs first: its module says so, or the stream's width shows it."""
    said = getattr(module, "is_transposed", None)
    if said is not None:
        return bool(said)
    writes = "down" in leaf or "output" in leaf
    place = stack.shape[2 if writes else 1]
    return place == hidden and stack.shape[1] != stack.shape[2]


def rounded_share(model: PreTrainedModel, blocks: str, names: Collection[str]) -> float:
    """Return the share of the blocks' matrix entries that are in the named matrices."""
    matrices = {
        f"{blocks}.{name}": p.numel()
        for name, p in model.get_submodule(blocks).named_parameters()
        if p.ndim > 1 and not name.endswith("bias")
    }
    return sum(count for name, count in matrices.items() if name in names) / sum(matrices.values())


def round_trip(
    weight: Float[Tensor, "O I"], bits: int, group_size: int | None = None
) -> Float[Tensor, "O I"]:
    """Return `s · round(w / s)`, s = max|w| / (2^(bits−1) − 1) over each output channel, or each group of its inputs.

    No entry moves by more than s/2.
    """
    groups = weight.float().unflatten(1, (-1, group_size or weight.shape[1]))
    scale = groups.abs().amax(-1, keepdim=True).clamp_min(1e-30) / (2 ** (bits - 1) - 1)
    return ((groups / scale).round() * scale).flatten(1).to(weight.dtype)
