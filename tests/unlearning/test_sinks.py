"""A loss that one planted token makes up is found; by hand, its share is that token's squared norm among all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.models.tiny import tiny_config, tiny_model
from unlearnctl.data.rows import Row
from unlearnctl.data.streams import SIDES, ForgetRetain
from unlearnctl.models.partial.tapped import TappedModel
from unlearnctl.models.skeleton import skeleton
from unlearnctl.objectives.base import Objective
from unlearnctl.objectives.npo import NPO
from unlearnctl.objectives.retain import NLL
from unlearnctl.objectives.rmu import RMU
from unlearnctl.objectives.rmu_cosine import RMUCosine
from unlearnctl.reporting.terminal import raised
from unlearnctl.unlearning.sinks import sink_flags, sink_share

LAYER = 1


def share(objective: Objective, planted: bool = True) -> float | None:
    model, shape = tiny_model("llama").eval(), skeleton(tiny_config("llama"))
    with torch.no_grad():
        model.model.embed_tokens.weight[3] *= 1000 if planted else 1  # what each text begins with
    texts = {side: {"all": [Row([3, *range(30 + n, 40 + n)], 0, n) for n in range(8)]} for side in SIDES}
    objective.setup(32, 1, torch.Generator().manual_seed(0))
    settings = SimpleNamespace(micro_batch=2, global_batch=4)
    setup: Any = SimpleNamespace(
        prepared=SimpleNamespace(objective=objective, settings=settings),
        data=ForgetRetain(texts, 0, "right", True, 0, ""),
    )
    names = [f"model.layers.{LAYER}.mlp.down_proj.weight"]
    return sink_share(setup, TappedModel(model, shape.blocks, names, LAYER, objective.needs()))


def test_a_squared_loss_is_all_sink() -> None:
    found = share(RMU(LAYER, 1.0, 10.0))
    assert found is not None
    assert found > 0.99
    assert share(RMU(LAYER, 1.0, 10.0), planted=False) == pytest.approx(0.0, abs=1e-6)


def test_an_angle_counts_every_token_alike() -> None:
    found = share(RMUCosine(LAYER, "opposite", alpha=1.0, norm_anchor=0.0))
    assert found is not None
    assert 0 < found < 0.5


def test_where_sinks_are_left_out_nobody_looks() -> None:
    assert share(RMU(LAYER, 1.0, 10.0, sink_factor=10.0)) is None
    assert share(NPO(0.1, 1.0, 1.0, NLL())) is None


def test_the_flag_names_the_key() -> None:
    rows = [{"kind": "train", "step": 1}, {"kind": "sinks", "step": 0, "share": 0.995}]
    assert raised({"flags": sink_flags(rows)}) == [
        "the forget loss is that of tokens that hold no text (share of the first forget loss): 0.99, bound 0.90; "
        "set objective.sink_factor=10"
    ]
    assert raised({"flags": sink_flags([{"kind": "sinks", "step": 0, "share": 0.5}])}) == []
