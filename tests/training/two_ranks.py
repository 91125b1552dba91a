"""Run by test_processes: the same ten steps on several gloo ranks, forked from a process that imported the libraries.

python -m tests.training.two_ranks OUT WORLD none|fsdp [OUT WORLD none|fsdp …]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tests.models.tiny import ARCHITECTURES, tiny_model
from tests.probes.test_norms import LAYERS, data
from tests.ranks import fork_ranks
from tests.training.synthetic import make_trainer
from unlearnctl.models.partial.decoder import Decoder
from unlearnctl.models.sharding import whole
from unlearnctl.models.skeleton import find_blocks
from unlearnctl.objectives.atwu import ATWU
from unlearnctl.objectives.base import Objective
from unlearnctl.objectives.npo import NPO
from unlearnctl.objectives.retain import KL, NLL
from unlearnctl.objectives.rmu import RMU
from unlearnctl.objectives.token_weights import Learned
from unlearnctl.probes.norms import token_norms
from unlearnctl.training.fill import fill_caches
from unlearnctl.training.loop import Trainer
from unlearnctl.training.state import load_trainer, trainer_state


def scorer() -> Learned:
    """Token weights that learn every second step, from the gradients of all ranks."""
    return Learned(2, 0.05, 0.9, 1e-4, 1.0, 10, 0.1, 5.0, 0.2, 0.01, "own", "raw", relative=True)


# Micro-batches of two everywhere: bfloat16 rounds differently in a pass over another number of rows.
MASTERS: dict[str, Any] = {"dtype": torch.bfloat16, "master_weights": "auto", "micro_batch": 2}
CASES: dict[str, tuple[Callable[[], Objective], dict[str, Any]]] = {
    "rmu": (lambda: RMU(4, 4.0, 10.0, relative="mean"), {"prefix_cache": "none"}),
    "rmu_cached": (lambda: RMU(4, 4.0, 10.0, relative="mean"), {"prefix_cache": "memory"}),
    "rmu_accumulated": (lambda: RMU(4, 4.0, 10.0), {"micro_batch": 2}),
    "npo_remembered": (lambda: NPO(0.1, 1.0, 1.0, NLL()), {}),
    "npo_kl": (lambda: NPO(0.1, 1.0, 1.0, KL()), {"trainable": [r"layers\."]}),
    "rmu_noise_sharp": (lambda: RMU(4, 4.0, 10.0, retain_noise=0.2), {"sharpness": 0.05, "micro_batch": 2}),
    "rmu_masters": (lambda: RMU(4, 4.0, 10.0), MASTERS),
    "npo_masters": (lambda: NPO(0.1, 1.0, 1.0, NLL()), {**MASTERS, "trainable": [r"layers\."]}),
    "atwu_learned": (lambda: ATWU(1.0, 1.0, 1.0, NLL(), scorer()), {"micro_batch": 2}),
}
FEW = tuple(CASES)
NOT_SLICED = ("rmu_noise_sharp",)  # refused with FSDP
# each architecture, ragged batches padded on either side
CASES |= {
    f"rmu_{architecture}_{side}": (
        lambda: RMU(4, 4.0, 10.0),
        {"architecture": architecture, "side": side, "steps": 5},
    )
    for architecture in ARCHITECTURES
    for side in ("right", "left")
}
Trajectory = tuple[list[float], dict[str, torch.Tensor]]


def ready(name: str, sharding: str) -> Trainer:
    objective, settings = CASES[name]
    trainer = make_trainer(objective(), topics=2, sharding=sharding, clip_norm=1.0, **settings)
    with tempfile.TemporaryDirectory() as folder:
        fill_caches([trainer], {}, Path(folder), trunk=False)
    return trainer


def look() -> Trajectory:
    """What is measured before the first step: median norms, and those of the first positions. No loss."""
    model = tiny_model("llama").eval()
    found = token_norms(Decoder(model, find_blocks(model)), data(), LAYERS)
    return [], {"median": found.median, "by_position": found.by_position}


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {n: whole(p.detach()) for n, p in trainer.tapped.trained().items()}


def trajectory(name: str, sharding: str = "none") -> Trajectory:
    """Losses and final weights of one case."""
    trainer = ready(name, sharding)
    losses: list[float] = []
    trainer.on_step = lambda row: losses.append(row["loss"])
    trainer.fit()
    check_optimizer(trainer)
    return losses, weights(trainer)


def check_resumed(name: str, sharding: str, expected: dict[str, torch.Tensor]) -> None:
    """Cut after three steps, rank 0's state put into fresh trainers: the same bits at the end."""
    trainer = ready(name, sharding)
    for _ in range(3):
        trainer.advance()
    box = [trainer_state(trainer)]
    torch.distributed.broadcast_object_list(box)
    fresh = ready(name, sharding)
    load_trainer(fresh, box[0])
    assert fresh.result.steps == 3
    fresh.fit()
    check_optimizer(fresh)
    for key, value in weights(fresh).items():
        assert torch.equal(value, expected[key]), (name, key)


def check_optimizer(trainer: Trainer) -> None:
    """Moments exist for what trains and nothing else, and of the slice alone."""
    state = trainer.optimizer.state
    assert len(state) == len(trainer.parameters)
    for parameter, moments in state.items():
        assert moments["exp_avg"].shape == parameter.shape
        assert type(moments["exp_avg"]) is type(parameter.data)


def main() -> None:
    for out, world, sharding in zip(sys.argv[1::3], sys.argv[2::3], sys.argv[3::3], strict=True):
        fork_ranks(int(world), partial(rank, out, int(world), sharding))


def rank(out: str, world: int, sharding: str) -> None:
    """What each of them does; the first writes what came of it."""
    # four ranks share two cores: not all of them
    names = [name for name in CASES if world == 2 or name in FEW]
    names = [name for name in names if sharding == "none" or name not in NOT_SLICED]
    done = {"look": look(), **{name: trajectory(name, sharding) for name in names}}
    for name in FEW if world == 2 else ():
        if name in done:
            check_resumed(name, sharding, done[name][1])
    assert torch.distributed.get_world_size() == world, "the launcher gave another number of processes"
    if torch.distributed.get_rank() == 0:
        torch.save(done, out)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
