"""Whoever reads padding declares it, and whoever declares it never meets a cache, which keeps no padding (point E2).

Each objective, with each choice that changes what it reads: its loss is NaN where padding is NaN if, and only if,
`needs()` says that it reads padding; and training from cached rows gives the very losses of training without.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest
import torch

import unlearnctl.objectives
from tests.models.tiny import make_batch
from tests.objectives.harness import loss, ready
from tests.objectives.test_probe_directions import make as probes
from tests.training.synthetic import make_trainer
from tests.training.test_fill import alone, assert_same, watch
from tests.training.test_loop import OBJECTIVES
from unlearnctl.objectives.base import Objective, Outputs, View
from unlearnctl.objectives.composite import Composite
from unlearnctl.objectives.loss_level import LossLevel
from unlearnctl.objectives.npo import NPO
from unlearnctl.objectives.retain import KL, EmbedDiff
from unlearnctl.objectives.rmu import RMU
from unlearnctl.objectives.rmu_adaptive import RMUAdaptive
from unlearnctl.objectives.simnpo import SimNPO
from unlearnctl.training import fill
from unlearnctl.training.fill import fill_caches
from unlearnctl.utils.errors import UserError

READERS: dict[str, Callable[[], Objective]] = {
    "rmu_all": lambda: RMU(4, 4.0, 10.0, "all"),
    "rmu_all_relative": lambda: RMU(4, 4.0, 10.0, "all", relative="mean"),
    "rmu_all_noise": lambda: RMU(4, 4.0, 10.0, "all", retain_noise=0.2),
    "rmu_adaptive_all_topic": lambda: RMUAdaptive(4, 5.0, 10.0, "per_topic", "all"),
    "rmu_adaptive_all_token": lambda: RMUAdaptive(4, 5.0, 10.0, "per_token", "all"),
    "composite_all": lambda: Composite({"a": RMUAdaptive(4, 5.0, 10.0, "per_topic", "all")}),
}
OTHERS: dict[str, Callable[[], Objective]] = {
    **OBJECTIVES,
    "rmu_relative": lambda: RMU(4, 4.0, 10.0, relative="mean"),
    "rmu_adaptive_topic": lambda: RMUAdaptive(4, 5.0, 10.0, "per_topic"),
    "simnpo_kl_embed": lambda: SimNPO(0.5, 0.0, 1.0, 0.1, EmbedDiff([1, 4])),
    "npo_kl": lambda: NPO(0.1, 1.0, 1.0, KL()),
    "composite": lambda: Composite({"a": RMU(4, 4.0, 10.0)}),
    **{f"probe_{kind}": lambda kind=kind: probes(kind, kl=0.5) for kind in ("project", "hinge", "push")},
}
SLOW = ("composite", "probe_")  # made for the harness' sizes alone


def read_layers(objective: Objective) -> bool:
    """Whether the harness' two layers hold what it reads; it has blocks 1 and 4 alone."""
    return all(set(need.layers) <= {1, 4} for need in objective.needs().values())


def test_no_objective_is_missing_here() -> None:
    folder = str(Path(unlearnctl.objectives.__file__).parent)
    modules = [import_module(f"unlearnctl.objectives.{m.name}") for m in iter_modules([folder])]
    found = {
        c
        for module in modules
        for c in vars(module).values()
        if inspect.isclass(c) and issubclass(c, Objective) and c.__module__ == module.__name__
    }
    seen = {type(make()) for make in {**READERS, **OTHERS}.values()}
    assert found - seen == {Objective, LossLevel}


@pytest.mark.parametrize("name", READERS)
def test_what_reads_padding_says_so(name: str) -> None:
    objective = ready(READERS[name]())
    assert all(need.padding for need in objective.needs().values())
    assert loss(objective).total.isnan()


@pytest.mark.parametrize("name", [n for n, make in OTHERS.items() if read_layers(make())])
def test_what_says_nothing_reads_none(name: str) -> None:
    objective = ready(OTHERS[name]())
    assert not any(need.padding for need in objective.needs().values())
    assert loss(objective).total.isfinite()


@pytest.mark.first(8)
@pytest.mark.parametrize("name", [n for n in OTHERS if not n.startswith(SLOW)])
def test_cached_rows_change_no_loss(name: str, tmp_path: Path) -> None:
    """Ten steps over four batches of ragged rows: the last six read rows a second time."""
    fill._kept.clear()
    settings = {"trainable": [r"layers\.[34]\."], "steps": 6}
    plain = alone(OTHERS[name](), **settings)
    trainer = make_trainer(OTHERS[name](), prefix_cache="memory", **settings)
    losses = watch(trainer)
    fill_caches([trainer], {"model": "tiny"}, tmp_path, trunk=False)
    assert trainer.tapped.cached.rows
    trainer.fit()
    assert_same(trainer, losses, plain)


@pytest.mark.parametrize("name", READERS)
def test_a_cache_for_what_reads_padding_is_a_bug(name: str, tmp_path: Path) -> None:
    """The command line refuses this earlier; code that gets here without it must not train on zeros."""
    fill._kept.clear()
    trainer = make_trainer(READERS[name](), prefix_cache="memory")
    with pytest.raises(UserError, match=r"^trainer\.prefix_cache=memory: this objective reads padding"):
        fill_caches([trainer], {"model": "tiny"}, tmp_path, trunk=False)


def test_the_adaptive_coefficient_with_reduction_all_is_the_mean_over_every_position() -> None:
    """arXiv 2408.06223, the authors' code: `activations.norm(dim=-1).mean(dim=1)`, then the mean over the batch."""
    generator = torch.Generator().manual_seed(0)
    h, h0 = torch.randn(2, 4, 9, 8, generator=generator)
    both = View(make_batch((5, 9, 3, 7), width=9), Outputs({4: h}), Outputs({4: h0}))
    objective = RMUAdaptive(4, 5.0, 10.0, "per_topic", "all")
    objective.setup(8, 1, torch.Generator().manual_seed(7))
    objective.calibrate(both)
    norms = [
        [sum(float(x) ** 2 for x in h0[b, t].double()) ** 0.5 for t in range(9)] for b in range(4)
    ]  # padding too
    coefficient = 5.0 * sum(sum(row) / 9 for row in norms) / 4
    target = coefficient * objective.control_vector[0].double()
    steer = sum(float((h[b, t].double() - target).square().sum()) / 8 for b in range(4) for t in range(9)) / (
        4 * 9
    )
    assert objective(both, both).terms["forget"].item() == pytest.approx(steer, rel=1e-6)
