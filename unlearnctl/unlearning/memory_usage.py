"""Measure what training holds in memory, to compare it with the plan."""

from __future__ import annotations

import resource
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from unlearnctl.models.sharding import held
from unlearnctl.unlearning.plan import Plan, size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from unlearnctl.training.loop import Trainer


@dataclass(frozen=True)
class MemoryUsage:
    """Holds the bytes of one run's tensors at the end of training, and the process's peak so far."""

    weights: int
    reference: int
    gradients: int
    optimizer: int
    peak: int  # of the GPU if there is one, else resident memory of the process, libraries included

    @classmethod
    def of(cls, trainer: Trainer) -> MemoryUsage:
        """Count a trainer's tensors."""
        tapped, optimizer = trainer.tapped, trainer.optimizer
        state = (v for group in optimizer.state.values() for v in group.values() if hasattr(v, "nbytes"))
        return cls(
            weights=_bytes([*tapped.model.parameters(), *tapped.model.buffers()]),
            reference=_bytes(tapped.reference_tensors()),
            gradients=_bytes(trainer.parameters),  # freed by now; each is as large as its parameter
            optimizer=_bytes(state),
            peak=peak_bytes(),
        )

    def record(self) -> dict[str, Any]:
        """Return the entry for results.json, in bytes."""
        return asdict(self)

    def line(self, plan: Plan) -> str:
        """Return `held in training: 4.54 GB weights, 352 MB reference, …`, with the plan's number where wrong."""
        parts = []
        for name in ("weights", "reference", "gradients", "optimizer"):
            have, planned = getattr(self, name), getattr(plan, name)
            wrong = f" (planned {size(planned)})" if size(have) != size(planned) else ""
            parts.append(f"{size(have)} {name}{wrong}")
        return f"held in training: {', '.join(parts)}; peak of the process {size(self.peak)}"


def _bytes(tensors: Iterable[Tensor]) -> int:
    # Counted by address, because a tied tensor has several names.
    return sum({t.data_ptr(): t.nbytes for t in map(held, tensors)}.values())


def peak_bytes() -> int:
    """Return the peak of allocated GPU memory, or of resident memory where there is no GPU."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
