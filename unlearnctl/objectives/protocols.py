"""What only some objectives can do, as small protocols: callers ask with `isinstance`, the base class stays small."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from unlearnctl.objectives.base import Objective
from unlearnctl.objectives.token_norms import Norms
from unlearnctl.objectives.token_weights import TokenWeights
from unlearnctl.utils.errors import UserError


@runtime_checkable
class HasParts(Protocol):
    """An objective made of several, one for each forget topic."""

    def parts(self) -> dict[str, Objective]:
        """Map each forget topic to its objective."""
        ...


@runtime_checkable
class ChoosesLayers(Protocol):
    """An objective whose layers may change during training, as `trainer.meta.layers` asks."""

    def read_at(self, layers: Sequence[int]) -> None:
        """Read only these of the declared layers from now on.

        Raises:
            UserError: a layer was not declared.
        """
        ...


@runtime_checkable
class UsesProbes(Protocol):
    """An objective that needs linear probes (forget text against retain text) before the first step."""

    def probe_folder(self) -> str | None:
        """Return the folder of `unlearnctl probe` to read; None: fit probes on the run's own texts."""
        ...

    def probe_layers(self) -> tuple[int, ...]:
        """Return the layers whose probes are needed."""
        ...

    def take_probes(self, probes: Mapping[str, Tensor]) -> None:
        """Take what was found at those layers; see `unlearnctl.probes.fit.Probes`."""
        ...


@runtime_checkable
class UsesNorms(Protocol):
    """A part of an objective that needs the original model's token norms before the first step."""

    def norm_layers(self) -> tuple[int, ...]:
        """Return the layers whose norms are needed; empty if none are."""
        ...

    def take_norms(self, norms: Norms) -> None:
        """Take what was measured, at those layers and perhaps at others."""
        ...


@runtime_checkable
class WeighsTokens(Protocol):
    """An objective in which forget tokens may count unequally."""

    def weights_of_tokens(self) -> TokenWeights | None:
        """Return what weighs the forget tokens; None: they count the same."""
        ...


def parts_of(objective: Objective) -> list[tuple[str | None, Objective]]:
    """List each topic with its objective; an objective that is not made of parts has the topic None."""
    return [*objective.parts().items()] if isinstance(objective, HasParts) else [(None, objective)]


def choosing_layers(objective: Objective) -> ChoosesLayers:
    """Return the objective as one whose layers may change.

    Raises:
        UserError: its layers are fixed.
    """
    if not isinstance(objective, ChoosesLayers):
        raise UserError(
            "trainer.meta.layers: this objective reads fixed layers; use rmu_cosine, or set it to null"
        )
    return objective
