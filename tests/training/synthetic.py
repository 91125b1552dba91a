"""Random token batches with the interface of `ForgetRetain`, and a trainer on a tiny model."""

from __future__ import annotations

from dataclasses import replace

import torch
from accelerate import Accelerator
from torch import Tensor

from tests.models.tiny import make_batch, tiny_config, tiny_model
from unlearnctl.data.batch import Batch
from unlearnctl.models.partial.tapped import TappedModel
from unlearnctl.models.sharding import shard
from unlearnctl.models.skeleton import skeleton
from unlearnctl.models.trainable import lowest_block, match
from unlearnctl.objectives.base import Objective
from unlearnctl.training.loop import Trainer
from unlearnctl.training.settings import TrainerSettings
from unlearnctl.utils.validate import read

LENGTHS = (13, 20, 7, 16, 9, 18, 5, 11)


class Synthetic:
    """Four random global batches of eight ragged sequences, over and over."""

    pack = False

    def __init__(self, topics: int = 1, side: str = "right") -> None:
        self.side = side
        self.topics = [f"topic{i}" for i in range(topics)]

    def micro_batches(
        self, step: int, global_batch: int, micro_batch: int, rank: int = 0, world: int = 1
    ) -> list[dict[str, Batch]]:
        share = global_batch // world
        starts = range(rank * share, (rank + 1) * share, micro_batch)
        firsts = {"forget": 0, "retain": 1000, "alternate": 2000, "refusal": 3000}
        sides = {side: first + step % 4 for side, first in firsts.items()}
        return [
            {s: self._cut(s, seed, global_batch, step, a, a + micro_batch) for s, seed in sides.items()}
            for a in starts
        ]

    def _cut(self, side: str, seed: int, global_batch: int, step: int, a: int, b: int) -> Batch:
        whole = make_batch(LENGTHS[:global_batch], self.side, seed=seed, topic=step % len(self.topics))
        cut = {k: v[a:b] for k, v in vars(whole).items() if isinstance(v, Tensor)}
        return replace(whole, **cut, corpus=f"{side}/{seed}")


def make_trainer(
    objective: Objective,
    architecture: str = "llama",
    topics: int = 1,
    side: str = "right",
    dtype: torch.dtype = torch.float32,
    **settings: object,
) -> Trainer:
    values = {"steps": 10, "global_batch": 8, "optimizer": {"lr": 1e-3}, **settings}
    shape = skeleton(tiny_config(architecture))
    names = [n for n in shape.shapes if n not in shape.tied]
    trainable = match(values.get("trainable") or objective.trainable(shape), names)
    needs = objective.needs()
    accelerator = Accelerator(cpu=True, mixed_precision=values.get("mixed_precision", "no"))
    if accelerator.mixed_precision == "fp16":  # what accelerate does on a GPU alone
        accelerator.scaler, accelerator.native_amp = torch.amp.GradScaler("cpu"), True
    model = tiny_model(architecture).to(dtype)
    tapped = TappedModel(model, shape.blocks, trainable, lowest_block(trainable, shape), needs)
    if values.get("master_weights") == "auto":
        tapped.hold_masters()
    if values.get("sharding") == "fsdp":
        shard(tapped, "cpu")
    objective.setup(32, topics, torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(tapped.trained().values(), lr=values["optimizer"]["lr"], weight_decay=0.0)
    return Trainer(
        tapped,
        objective,
        Synthetic(topics, side),
        read(TrainerSettings, "trainer", values),
        optimizer,
        accelerator,
    )
