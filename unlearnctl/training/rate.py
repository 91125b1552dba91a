"""The learning rate in units of what trains, so that it carries over from one model to another (ours)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median

from torch import Tensor

from unlearnctl.models.sharding import whole
from unlearnctl.objectives.base import Needs
from unlearnctl.training.settings import TrainerSettings
from unlearnctl.utils.errors import UserError

# Where a config gives no rate. Losses on hidden states train a few matrices: on SmolLM2 135M, 1e-3 at an RMS of 0.19.
# Losses on tokens train everything, and published rates for them are several times lower.
HIDDEN, PREDICTED = 0.005, 0.001


def relative_rate(settings: TrainerSettings, needs: Mapping[str, Needs]) -> float | None:
    """Return the rate as a multiple of the RMS of what trains; None if the config gives an absolute one."""
    if settings.optimizer.get("lr") is not None:
        return None
    predicts = any(need.head for need in needs.values())
    return settings.relative_lr or (PREDICTED if predicts else HIDDEN)


def typical_rms(trained: Iterable[Tensor]) -> float:
    """Return the median over matrices of their root mean square; over all tensors where no matrix trains.

    Those that are all zero do not count: an adapter starts with half of its matrices so.

    Raises:
        UserError: everything is zero, so it has no size.
    """
    sizes = [(t.ndim > 1, float(whole(t.detach().float().square().mean())) ** 0.5) for t in trained]
    found = [size for matrix, size in sizes if matrix and size] or [size for _, size in sizes if size]
    if not found:
        raise UserError("trainer.relative_lr: everything that trains is zero; set trainer.optimizer.lr")
    return median(found)
