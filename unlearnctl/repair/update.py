"""One update: learn where it disturbs retained text, shrink it there, and choose by how much."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from unlearnctl.data.batch import Batch
from unlearnctl.data.streams import ForgetRetain
from unlearnctl.repair.spectrum import Spectrum, linear_updates, second_moments
from unlearnctl.results.metric import Scores
from unlearnctl.results.trade_off import trade_off
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

# (update, its module's spectrum, strength) → repaired update
Method = Callable[[Float[Tensor, "O I"], Spectrum, float], Float[Tensor, "O I"]]
MOMENT_BYTES = 4 << 30  # of second moments held at once


class Update:
    """The tensors that unlearning changed, and the spectrum of the retained text at the input of each linear module.

    Args:
        method: shrinks the update of one module.
        model: the base model; its weights stay as they are.
        changed: name → tensor of the unlearned model.

    Raises:
        UserError: no linear weight is among them.
    """

    def __init__(self, method: Method, model: PreTrainedModel, changed: Mapping[str, Tensor]) -> None:
        self.method, self.model, self.changed = method, model, changed
        self.linear, self.others = linear_updates(model, changed)
        if not self.linear:
            raise UserError("repair: no linear weight changed, so there is nothing to repair")
        self.spectra: dict[str, Spectrum] = {}

    def learn(self, batches: Callable[[], Iterable[Batch]]) -> None:
        """Pass the retained text, `batches()`, through the base model, once for each group of modules."""
        for names in self._groups():
            moments = second_moments(self.model, names, batches())
            self.spectra |= {name: Spectrum.of(moment) for name, moment in moments.items()}

    def _groups(self) -> Iterator[list[str]]:
        """Yield modules whose second moments fit into memory together."""
        group: list[str] = []
        held = 0
        for name, update in self.linear.items():
            size = 3 * 8 * update.shape[1] ** 2  # float64, three at a time while one is summed or decomposed
            if group and held + size > MOMENT_BYTES:
                yield group
                group, held = [], 0
            group.append(name)
            held += size
        yield group

    def repaired(self, strength: float) -> dict[str, Tensor]:
        """Return every changed tensor: linear weights with their repaired update, others as they were."""
        # Added to the base's weights, so that what is left out of the update returns to the base's value.
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        found = {name: self.changed[name] for name in self.others}
        for module, update in self.linear.items():
            name = f"{module}.weight"
            found[name] = parameters[name].double() + self.method(update, self.spectra[module], strength)
        return {name: found[name] for name in self.changed}

    def damage(self, strength: float) -> dict[str, float]:
        """Compute tr(Δ'CΔ'ᵀ) for each module."""
        return {
            name: self.spectra[name].damage(self.method(update, self.spectra[name], strength))
            for name, update in self.linear.items()
        }

    def record(self, strength: float, curve: Sequence[Mapping[str, float]]) -> dict[str, Any]:
        """Build the `repair` part of results.json."""
        before, after = self.damage(0.0), self.damage(strength)
        return {
            "method": type(self.method).__name__,
            "strength": strength,
            "curve": list(curve),
            "modules": {n: {"damage_before": before[n], "damage_after": after[n]} for n in before},
            "untouched": self.others,
        }


def retained_batches(data: ForgetRetain, sequences: int, size: int, device: torch.device) -> Iterator[Batch]:
    """Yield retained text, at least `sequences` sequences in batches of `size`."""
    for step in range(-(-sequences // size)):
        for micro in data.micro_batches(step, size, size):
            yield micro["retain"].to(device)


def search(
    update: Update,
    strengths: Iterable[float],
    base: Scores,
    measure: Callable[[Mapping[str, Tensor]], Scores],
) -> tuple[float, list[dict[str, float]]]:
    """Find the strength whose forgotten share × retained share is largest; return it and the points tried.

    Args:
        update: whose spectra are known.
        strengths: to try; 0, the update as it is, is tried too.
        base: scores of the base model.
        measure: scores of the model with these tensors.

    Raises:
        UserError: no metric says anything about forgetting or retaining.
    """
    curve: list[dict[str, float]] = []
    # Tried from the weakest on, and only a larger value replaces the best, so that a tie changes the update least.
    best, chosen = -1.0, 0.0
    for strength in sorted({0.0, *map(float, strengths)}):
        point = trade_off(base, measure(update.repaired(strength)))
        if point is None:
            raise UserError(
                "strength=null: no metric in eval measures forgetting or retaining; give strength=NUMBER"
            )
        damage = sum(update.damage(strength).values())
        curve.append({"strength": strength, **point._asdict(), "damage": damage})
        if point.hypervolume > best:
            best, chosen = point.hypervolume, strength
    return chosen, curve
