"""Measure where retained text lies in a module's input space, and how much an update disturbs it.

Axes: O outputs, I inputs of a linear module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unlearnctl.data.batch import Batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues (ascending, 0 or more) and eigenvectors of C = XᵀX/n, the inputs' second moment, in float64."""

    values: Float[Tensor, " I"]
    vectors: Float[Tensor, "I I"]

    @classmethod
    def of(cls, second_moment: Float[Tensor, "I I"]) -> Spectrum:
        """Decompose the matrix; negative eigenvalues are rounding and become 0."""
        values, vectors = torch.linalg.eigh(second_moment.double())
        return cls(values.clamp_min(0), vectors)

    def damage(self, update: Float[Tensor, "O I"]) -> float:
        """Return ‖XΔᵀ‖²_F/n = tr(ΔCΔᵀ), the mean squared change of the module's output on retained text."""
        return float(((update.double() @ self.vectors) ** 2 @ self.values).sum())


@torch.no_grad()
def second_moments(
    model: PreTrainedModel, names: Sequence[str], batches: Iterable[Batch]
) -> dict[str, Float[Tensor, "I I"]]:
    """Return C of each linear module's inputs over the real tokens of the batches, summed in float64."""
    sums: dict[str, Tensor] = {}
    real = torch.zeros(0, dtype=torch.bool)
    count = 0

    def note(name: str, x: Tensor) -> None:
        rows = x.reshape(-1, x.shape[-1])  # mixtures of experts pass routers the batch as one list of tokens
        # An expert's linear layer sees only some tokens, and we cannot tell which, so padding counts there too.
        if len(rows) == real.numel():
            rows = rows[real.reshape(-1)]
        rows = rows.double()
        sums[name] = sums.get(name, torch.zeros((), device=rows.device)) + rows.T @ rows

    with _hooks(model, names, note):
        for batch in batches:
            real = batch.attention_mask.bool()
            count += int(real.sum())
            model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False)
    return {name: total / max(count, 1) for name, total in sums.items()}


@contextmanager
def _hooks(model: nn.Module, names: Sequence[str], note: Callable[[str, Tensor], None]) -> Iterator[None]:
    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda module, args: note(name, args[0])

    handles = [model.get_submodule(name).register_forward_pre_hook(hook(name)) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def linear_updates(
    model: PreTrainedModel, changed: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Return module → Δ = W_θ − W_θ0 [O, I] for each changed linear weight, and the other changed tensors' names.

    A head tied to the embedding counts as an embedding.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    embedding = model.get_input_embeddings().weight
    updates, others = {}, []
    for name, value in changed.items():
        weight, module = parameters[name], model.get_submodule(name.rpartition(".")[0])
        if isinstance(module, nn.Linear) and name.endswith(".weight") and weight is not embedding:
            updates[name.removesuffix(".weight")] = (
                value.to(weight.device).double() - weight.detach().double()
            )
        else:
            others.append(name)
    return updates, others
