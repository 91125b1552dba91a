"""Cached, remembered and side by side: the numbers stay those of a plain run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.training.synthetic import make_trainer
from unlearnctl.models.load import enable_checkpointing
from unlearnctl.models.partial.decoder import Decoder
from unlearnctl.objectives.base import Objective
from unlearnctl.objectives.npo import NPO
from unlearnctl.objectives.retain import KL, NLL, EmbedDiff
from unlearnctl.objectives.rmu import RMU
from unlearnctl.objectives.rmu_cosine import RMUCosine
from unlearnctl.sweeps.together import fit_together
from unlearnctl.training import fill
from unlearnctl.training.fill import fill_caches
from unlearnctl.training.loop import Trainer

Trajectory = tuple[list[float], dict[str, torch.Tensor]]
BASE = {"model": "tiny"}


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    fill._kept.clear()


def watch(trainer: Trainer) -> list[float]:
    losses: list[float] = []
    trainer.on_step = lambda row: losses.append(row["loss"])
    return losses


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trainer.tapped.trained().items()}


def alone(objective: Objective, architecture: str = "llama", **settings: object) -> Trajectory:
    trainer = make_trainer(objective, architecture, **settings)
    losses = watch(trainer)
    trainer.fit()
    return losses, weights(trainer)


def assert_same(trainer: Trainer, losses: list[float], plain: Trajectory) -> None:
    assert losses == plain[0]
    for name, value in weights(trainer).items():
        assert torch.equal(value, plain[1][name]), name


@pytest.mark.parametrize("kind", ["memory", "disk"])
@pytest.mark.parametrize("micro", [8, 2])
def test_a_cached_prefix_changes_no_bit(architecture: str, kind: str, micro: int, tmp_path: Path) -> None:
    """Ten steps over four batches, so that the last six read rows a second time."""
    plain = alone(RMU(4, 4.0, 10.0), architecture, micro_batch=micro)
    for trunk in (False, True):
        trainer = make_trainer(RMU(4, 4.0, 10.0), architecture, micro_batch=micro, prefix_cache=kind)
        losses = watch(trainer)
        fill_caches([trainer], BASE, tmp_path, trunk)
        assert trainer.fit().steps == 10
        assert_same(trainer, losses, plain)


def test_the_frozen_blocks_run_for_each_row_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran: list[int] = []
    run = Decoder.run

    def counting(self: Decoder, indices: range, *args: object) -> object:
        ran.extend(i for i in indices if i < 2)
        return run(self, indices, *args)

    monkeypatch.setattr(Decoder, "run", counting)
    for _ in range(2):  # the second run finds the first one's rows
        trainer = make_trainer(RMU(4, 4.0, 10.0), prefix_cache="disk")
        fill_caches([trainer], BASE, tmp_path, trunk=True)
        fill._kept.clear()
        trainer.fit()
    assert sorted(ran) == [0] * 8 + [1] * 8  # 2 frozen blocks, 4 batches, 2 sides
    with pytest.raises(RuntimeError, match="was released"):
        trainer.tapped.model.model.layers[0](torch.zeros(1))


def test_layers_read_inside_the_prefix_are_kept_too(tmp_path: Path) -> None:
    def objective() -> Objective:
        return RMUCosine([0, 4], "away", 5.0, 0.1)

    settings = {"trainable": None}
    plain = make_trainer(objective(), **settings)
    plain.tapped.lowest = 2
    cached = make_trainer(objective(), **settings, prefix_cache="memory")
    cached.tapped.lowest = 2
    for trainer in (plain, cached):  # blocks 0 and 1 train by this objective's own choice; not here
        for name, parameter in trainer.tapped.trained().items():
            parameter.requires_grad_("layers.0" not in name and "layers.1" not in name)
    first, second = watch(plain), watch(cached)
    fill_caches([cached], BASE, tmp_path, trunk=False)
    plain.fit()
    cached.fit()
    assert first == second


@pytest.mark.parametrize("patterns", [None, [r"layers\.[34]\."]])
def test_remembered_reference_changes_no_bit_and_holds_no_tensor(
    patterns: list[str] | None, tmp_path: Path
) -> None:
    def objective() -> Objective:
        made = NPO(0.1, 1.0, 1.0, NLL())
        if patterns:
            made.trainable = lambda arch: patterns  # type: ignore[method-assign]
        return made

    plain = alone(objective())
    trainer = make_trainer(objective())
    losses = watch(trainer)
    assert trainer.tapped.reference_tensors()
    fill_caches([trainer], BASE, tmp_path, trunk=False)
    assert not trainer.tapped.reference_tensors()
    trainer.fit()
    assert_same(trainer, losses, plain)


@pytest.mark.parametrize("retain", [KL(), EmbedDiff([3])])
def test_a_reference_that_gives_more_than_logprobs_stays(retain: Objective, tmp_path: Path) -> None:
    trainer = make_trainer(NPO(0.1, 1.0, 1.0, retain))
    fill_caches([trainer], BASE, tmp_path, trunk=False)
    assert trainer.tapped.reference_tensors()
    assert trainer.fit().steps == 10


@pytest.mark.parametrize("kind", ["none", "memory"])
def test_side_by_side_each_member_equals_its_run_alone(kind: str, tmp_path: Path) -> None:
    """Different coefficients, optimisers, step counts and even objectives, one prefix pass."""
    members: list[tuple[Callable[[], Objective], dict[str, object]]] = [
        (lambda: RMU(4, 4.0, 10.0), {}),
        (lambda: RMU(4, 2.0, 1.0), {"optimizer": {"lr": 5e-3}}),
        (lambda: RMUCosine(4, "away", 5.0, 0.1), {"steps": 7}),
        (lambda: RMU(4, 4.0, 10.0), {"micro_batch": 4}),
    ]
    plain = [alone(make(), **settings) for make, settings in members]
    memo: dict = {}
    trainers = [make_trainer(make(), **settings, prefix_cache=kind) for make, settings in members]
    losses = [watch(trainer) for trainer in trainers]
    fill_caches(trainers, BASE, tmp_path, trunk=False)
    for trainer in trainers:
        trainer.tapped.memo = memo
    sizes: list[int] = []

    def after_round() -> None:
        sizes.append(len(memo))
        memo.clear()

    fits = fit_together(trainers, after_round)
    assert [fit.steps for fit in fits] == [10, 10, 7, 10]
    for trainer, seen, own in zip(trainers, losses, plain, strict=True):
        assert_same(trainer, seen, own)
    # two sides shared by the three that agree on the batch, four micro-batches of the one that does not
    assert sizes[0] == 6


@pytest.mark.parametrize("kind", ["none", "memory"])
def test_gradient_checkpointing_goes_with_cut_and_cache(architecture: str, kind: str, tmp_path: Path) -> None:
    plain = alone(RMU(4, 4.0, 10.0), architecture)
    trainer = make_trainer(RMU(4, 4.0, 10.0), architecture, prefix_cache=kind)
    enable_checkpointing(trainer.tapped.model)
    losses = watch(trainer)
    fill_caches([trainer], BASE, tmp_path, trunk=False)
    trainer.fit()
    assert losses == pytest.approx(plain[0], rel=1e-6)
    for name, value in weights(trainer).items():
        assert (value - plain[1][name]).abs().max() <= 1e-6


def test_bfloat16_weights_are_cut_and_cached_without_a_change(tmp_path: Path) -> None:
    def trainer(kind: str) -> Trainer:
        made = make_trainer(RMU(4, 4.0, 10.0), prefix_cache=kind)
        made.tapped.to(torch.bfloat16)
        return made

    plain, cached = trainer("none"), trainer("memory")
    first, second = watch(plain), watch(cached)
    fill_caches([cached], BASE, tmp_path, trunk=True)
    plain.fit()
    cached.fit()
    assert first == second
    assert cached.tapped.cached.rows["forget/0/0@stream"].dtype == torch.bfloat16
