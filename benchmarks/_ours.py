"""Run our trainer on the presets: the code of `unlearnctl train`, fed with random tokens or rows of real lengths."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from benchmarks._common import Preset
from unlearnctl.data.batch import Batch, Batches
from unlearnctl.data.rows import Row
from unlearnctl.data.streams import ForgetRetain
from unlearnctl.models.adapters import Lora, adaptable, add_adapters
from unlearnctl.models.partial.tapped import TappedModel
from unlearnctl.models.trainable import lowest_block, match
from unlearnctl.objectives.base import Objective
from unlearnctl.training.fill import fill_caches
from unlearnctl.training.loop import Trainer
from unlearnctl.training.settings import TrainerSettings
from unlearnctl.utils.validate import read


class Repeated:
    """A data source that repeats one global batch."""

    topics = ("all",)
    pack = True

    def __init__(self, preset: Preset) -> None:
        self.sides = {"forget": preset.batch(1, "forget"), "retain": preset.batch(2, "retain")}

    def micro_batches(
        self, step: int, global_batch: int, micro_batch: int, rank: int = 0, world: int = 1
    ) -> list[dict[str, Batch]]:
        """Return the same batch for every step, cut into micro-batches."""
        starts = range(0, global_batch, micro_batch)
        return [{s: _rows(b, start, start + micro_batch) for s, b in self.sides.items()} for start in starts]


def _rows(batch: Batch, first: int, last: int) -> Batch:
    cut = {name: value[first:last] for name, value in vars(batch).items() if isinstance(value, torch.Tensor)}
    return replace(batch, **cut)


def tofu_rows(preset: Preset, pack: bool) -> ForgetRetain:
    """Return one global batch of TOFU's lengths; the tokens are random.

    A word of up to eight letters, or a mark, counts as one token: 5 % more than SmolLM2's tokenizer makes.
    """
    assert preset.data is not None
    generator = torch.Generator().manual_seed(0)
    rows = {}
    for side, name in (("forget", "forget10.json"), ("retain", "retain90.json")):
        lines = (preset.data / name).read_text(encoding="utf-8").splitlines()
        step = len(lines) // preset.sequences
        texts = [json.loads(line) for line in lines[: step * preset.sequences : step]]
        lengths = [(_count(text["question"]), _count(text["answer"])) for text in texts]
        drawn = [torch.randint(3, preset.vocabulary, (sum(both),), generator=generator) for both in lengths]
        made = [Row(ids.tolist(), lengths[i][0], i) for i, ids in enumerate(drawn)]
        rows[side] = {"all": made}
    return ForgetRetain(rows, 0, "right", False, 0, "", pack=pack)


def _count(text: str) -> int:
    return len(re.findall(r"\w{1,8}|[^\w\s]", text))


def trunk(preset: Preset, model: PreTrainedModel) -> PreTrainedModel:
    """Make the blocks up to the layer that is read, as trunk loading does, with separate trainable weights."""
    short = copy.copy(model.model)
    short._modules = dict(short._modules)
    short.layers = torch.nn.ModuleList([copy.deepcopy(b) for b in model.model.layers[: preset.layer + 1]])
    short.config = copy.deepcopy(model.config)
    short.config.num_hidden_layers = preset.layer + 1
    return short


def make_trainer(
    preset: Preset,
    model: PreTrainedModel,
    objective: Objective,
    data: Batches,
    lr: float,
    cache: str = "none",
    release: bool = False,
    lora: Lora | None = None,
    only: Sequence[str] | None = None,
) -> Trainer:
    """Make a trainer that is ready to step, with its cache filled."""
    shape = preset.shape()
    trainable = match(only or objective.trainable(shape), shape.shapes)
    if lora:
        trainable = adaptable(trainable, shape)
    lowest = lowest_block(trainable, shape)
    names = add_adapters(model, shape.blocks, trainable, lora) if lora else trainable
    tapped = TappedModel(model, shape.blocks, names, lowest, objective.needs())
    settings = read(
        TrainerSettings,
        "trainer",
        {"steps": 1, "global_batch": preset.sequences, "optimizer": {"lr": lr}, "prefix_cache": cache},
    )
    optimizer = torch.optim.AdamW(tapped.trained().values(), lr=lr, weight_decay=0.0)
    accelerator = Accelerator(cpu=preset.device == "cpu")
    trainer = Trainer(tapped, objective, data, settings, optimizer, accelerator)
    fill_caches([trainer], {"bench": preset.name}, Path(mkdtemp()), trunk=release)
    return trainer


def share(trainers: Sequence[Trainer]) -> dict:
    """Give trainers a shared memo of prefix passes; the caller clears it after each step."""
    memo: dict = {}
    for trainer in trainers:
        trainer.tapped.memo = memo
    return memo
