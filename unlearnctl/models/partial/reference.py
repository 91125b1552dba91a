"""The reference without a second model: the original values of the tensors that train, swapped in for a pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unlearnctl.models.partial.masters import Slot


class Originals:
    """Holds the trainable tensors as they are now, in the dtype in which the model stores them.

    Args:
        model: whose tensors they are.
        slots: every place that reads one of them, looked up once because they are swapped in every step.
        names: of the tensors, as the model has them; none if nothing reads the reference.
    """

    def __init__(self, model: nn.Module, slots: Sequence[Slot], names: Iterable[str]) -> None:
        parameters = dict(model.named_parameters())
        self.model, self.slots = model, slots
        self.values = {name: parameters[name].detach().clone() for name in names}
        self.sharded = False

    def take_shards(self) -> None:
        """Hold slices instead, after FSDP has sliced the parameters."""
        parameters = dict(self.model.named_parameters())
        # In the dtype that they are stored in, which masters do not have; what is copied back is the same.
        self.values = {n: parameters[n].detach().to(v.dtype, copy=True) for n, v in self.values.items()}
        self.sharded = True

    def convert(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Apply what `nn.Module._apply` applies to parameters, such as a move to another device."""
        self.values = {name: fn(value) for name, value in self.values.items()}

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model compute with the original values, under no_grad.

        Never around a policy pass: a checkpointed block would recompute with the wrong weights.
        """
        with torch.no_grad(), self._copied() if self.sharded else self._swapped():
            yield

    @contextmanager
    def _copied(self) -> Iterator[None]:
        # FSDP gathers its own slices and ignores a swapped parameter, so the values are copied in and back.
        parameters = dict(self.model.named_parameters())
        policy = {name: parameters[name].detach().clone() for name in self.values}
        _copy(self.values, parameters)
        yield
        _copy(policy, parameters)  # not after an error, with which a run of several processes ends

    @contextmanager
    def _swapped(self) -> Iterator[None]:
        held = [(module, leaf, module._parameters[leaf]) for module, leaf, _ in self.slots]
        for module, leaf, name in self.slots:
            # Past `setattr`, which takes nothing but an nn.Parameter. Swapped, not copied into the parameter: that is
            # saved for the policy's backward pass, and autograd refuses tensors that have changed since.
            module._parameters[leaf] = self.values[name]  # type: ignore[assignment]
        try:
            yield
        finally:
            for module, leaf, parameter in held:
                module._parameters[leaf] = parameter


def _copy(values: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> None:
    for name, value in values.items():
        parameters[name].copy_(value)
