"""The one abstraction: an objective declares what it needs, is given it, and never calls a model.

Legend of axes: B sequences, T positions, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Protocol, cast, runtime_checkable

import torch
from annotated_types import Gt, Lt, MinLen
from jaxtyping import Bool, Float
from pydantic import NonNegativeInt
from torch import Tensor, nn

from unlearnctl.data.batch import Batch
from unlearnctl.ops.logprobs import prediction_mask
from unlearnctl.ops.masked import masked_mean
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.validate import checked

# A config gives a block's index or a share of the depth; constructors get indices alone (`config/depth.py`).
Layer = NonNegativeInt | Annotated[float, Gt(0), Lt(1)]
Blocks = Annotated[Sequence[Layer], MinLen(1)]


@dataclass(frozen=True)
class Needs:
    """What a term reads of one side (forget or retain) of the batch."""

    layers: tuple[int, ...] = ()  # blocks whose output (the residual stream after them) is read
    logits: bool = False  # [B, T, V]; prefer logprobs, which never materialises it
    logprobs: bool = False  # of the labels, [B, T]
    reference: bool = False  # the same of the frozen original model
    final: bool = False  # the policy's hidden state after the last norm, [B, T, D]; never the reference's
    padding: bool = False  # reads padding positions too, so nothing that is kept by row can stand in

    @property
    def head(self) -> bool:
        """Whether the whole depth and the LM head must run."""
        return self.logits or self.logprobs or self.final


@dataclass(frozen=True)
class Outputs:
    """What one model computed for one side; only what was asked for is there."""

    hidden: dict[int, Float[Tensor, "B T D"]] = field(default_factory=dict)
    logits: Float[Tensor, "B T V"] | None = None
    logprobs: Float[Tensor, "B T"] | None = None
    final: Float[Tensor, "B T D"] | None = None


def union(needs: Sequence[Needs]) -> Needs:
    """Combine several needs: whatever any of them reads."""
    return Needs(
        layers=tuple(sorted({layer for need in needs for layer in need.layers})),
        **{name: any(getattr(need, name) for need in needs) for name in FLAGS},
    )


FLAGS = tuple(f.name for f in fields(Needs) if f.name != "layers")


@dataclass(frozen=True)
class View:
    """One side of a micro-batch: the batch, the policy's outputs and, if asked for, the reference's.

    The three means divide by the *global* batch's counts: partial means of micro-batches and processes add
    up to the global mean.
    """

    batch: Batch
    policy: Outputs
    frozen: Outputs | None = None

    @property
    def reference(self) -> Outputs:
        """The frozen model's outputs; reading them without `Needs(reference=True)` is a bug."""
        if self.frozen is None:
            raise AttributeError("no reference outputs: declare Needs(reference=True)")
        return self.frozen

    @property
    def hidden(self) -> dict[int, Float[Tensor, "B T D"]]:
        """The policy's residual stream after each block asked for."""
        return self.policy.hidden

    @property
    def logprobs(self) -> Float[Tensor, "B T"]:
        """The policy's token log-probabilities, 0 where no prediction counts."""
        assert self.policy.logprobs is not None, "no log-probabilities: declare Needs(logprobs=True)"
        return self.policy.logprobs

    @property
    def predicted(self) -> Bool[Tensor, "B T"]:
        """Positions whose token is predicted and counts."""
        return prediction_mask(self.batch.labels, self.batch.attention_mask)

    def token_mean(self, values: Float[Tensor, "B T"]) -> Float[Tensor, ""]:
        """Return the mean over the tokens whose representation counts."""
        return masked_mean(values, self.batch.mask, self.batch.tokens)

    def prediction_mean(self, values: Float[Tensor, "B T"]) -> Float[Tensor, ""]:
        """Return the mean over predicted tokens; `values[:, t]` belongs to the prediction *of* token t."""
        return masked_mean(values, self.predicted, self.batch.predictions)

    def sequence_mean(self, values: Float[Tensor, " B"]) -> Float[Tensor, ""]:
        """Return the mean over sequences."""
        return values.sum() / self.batch.sequences


@dataclass(frozen=True)
class Loss:
    """The scalar to minimise and its unweighted parts, for the log."""

    total: Float[Tensor, ""]
    terms: dict[str, Float[Tensor, ""]]
    # The weighted part of `total` that forgets: trainer.sharpness perturbs along its gradient alone.
    forget: Float[Tensor, ""] | None = None

    def part(self, which: str) -> Float[Tensor, ""]:
        """Return `total`, `forget`, or `rest`: the total without its forget part.

        Raises:
            UserError: a part was asked for, but the objective does not say which part of its loss forgets.
        """
        if which == "total":
            return self.total
        if self.forget is None:
            raise UserError(
                "trainer.sharpness: this objective does not say what forgets; set it to 0, or Loss.forget"
            )
        return self.forget if which == "forget" else self.total - self.forget


def indices(layers: Layer | Sequence[Layer]) -> tuple[int, ...]:
    """Return one layer or several as a tuple of block indices."""
    return cast(tuple[int, ...], (layers,) if isinstance(layers, int | float) else tuple(layers))


@runtime_checkable
class Architecture(Protocol):
    """The names that an objective may use to say what it trains."""

    @property
    def blocks(self) -> str:
        """Path of the block list, e.g. "model.layers"."""
        ...

    def mlp_outputs(self, block: int) -> list[str]:
        """Name a block's MLP output matrices, e.g. ["model.layers.7.mlp.down_proj.weight"]."""
        ...


class Checked(nn.Module):
    """A module whose subclasses refuse constructor values that their annotations do not allow, as configs do."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):  # an inherited one is wrapped already
            cls.__init__ = checked(cls.__init__)  # type: ignore[method-assign]


class Objective(Checked):
    """The base of every objective. A subclass is about 40 lines that state an equation.

    `forward` takes a View of each side of `needs()`, by name, and returns the loss of one micro-batch as its share of
    the global batch's loss. What only some objectives can do (take probes, change layers, consist of parts, weigh
    tokens) is in `protocols.py`.

    Training checkpoints keep buffers and parameters, and the plain values, generators and optimisers that the
    objective or a submodule holds as attributes. Keep anything else that changes between steps in `get_extra_state`.
    """

    forward: Callable[..., Loss]

    def needs(self) -> dict[str, Needs]:
        """Declare what is read of `forget` and `retain`; a side that is absent is not run."""
        raise NotImplementedError

    def trainable(self, arch: Architecture) -> list[str]:
        """Return regexes of the parameters that this method trains by default: everything."""
        return [".*"]

    def setup(self, hidden_size: int, topics: int, generator: torch.Generator) -> None:
        """Draw whatever is random (control vectors and the like) as buffers, from a seeded generator."""

    def calibration(self) -> tuple[str, ...]:
        """Name the buffers that `calibrate` sums over each topic's first global batch, before the first step."""
        return ()

    def calibrate(self, forget: View) -> None:
        """Add one micro-batch's share to the buffers that `calibration` names."""

    def after_step(self, terms: Mapping[str, float]) -> None:
        """Update state after an optimiser step, from the global batch's unweighted terms (equal on every process)."""


class RetainTerm(Checked):
    """A loss on the retain side alone, pluggable into any loss-level objective."""

    def needs(self) -> Needs:
        """Declare what is read of the retain side."""
        raise NotImplementedError

    def forward(self, retain: View) -> Float[Tensor, ""]:
        """Return the term, as this micro-batch's share of the global mean."""
        raise NotImplementedError


def mlp_outputs(arch: Architecture, layers: tuple[int, ...]) -> list[str]:
    """Return RMU's choice of what to train: the MLP output matrices of blocks l−2, l−1, l of each layer l.

    Raises:
        UserError: one of these blocks has none.
    """
    blocks = sorted({block for layer in layers for block in range(max(0, layer - 2), layer + 1)})
    bare = [block for block in blocks if not arch.mlp_outputs(block)]
    if bare:
        raise UserError(
            f"objective: it trains the MLP output matrices of blocks {_listed(blocks)}, and of these {_listed(bare)} "
            rf"have none; name what trains, as in 'trainer.trainable=[{_escaped(arch.blocks)}\.{bare[-1]}\.]'"
        )
    return [f"^{_escaped(name)}$" for block in blocks for name in arch.mlp_outputs(block)]


def _listed(blocks: Sequence[int]) -> str:
    return ", ".join(map(str, blocks))


def _escaped(name: str) -> str:
    return name.replace(".", r"\.")
