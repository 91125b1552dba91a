"""Every loss that is smooth where it is looked at: autograd against finite differences in float64.

Left out: weights without gradient (wga, satimp, ceu, atwu, learned token weights) are no derivative of their value, by
design; their gradients are checked in closed form in their own tests.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.models.tiny import make_batch
from unlearnctl.objectives.altpo import AltPO
from unlearnctl.objectives.base import Objective, Outputs, View
from unlearnctl.objectives.circuit_breaking import CircuitBreaking
from unlearnctl.objectives.dpo import DPO
from unlearnctl.objectives.grad_ascent import GradAscent
from unlearnctl.objectives.grad_diff import GradDiff
from unlearnctl.objectives.idk_dpo import IdkDPO
from unlearnctl.objectives.nll import NLL as Finetune
from unlearnctl.objectives.npo import NPO
from unlearnctl.objectives.pdu import PDU
from unlearnctl.objectives.probe_directions import ProbeDirections
from unlearnctl.objectives.retain import KL, NLL, EmbedDiff
from unlearnctl.objectives.rmu import RMU
from unlearnctl.objectives.rmu_adaptive import RMUAdaptive
from unlearnctl.objectives.rmu_cosine import RMUCosine
from unlearnctl.objectives.simnpo import SimNPO
from unlearnctl.objectives.undial import UNDIAL

D, V = 5, 11
OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "rmu": lambda: RMU(4, 2.0, 3.0),
    "rmu_all": lambda: RMU(4, 2.0, 3.0, reduction="all"),
    "rmu_adaptive": lambda: RMUAdaptive(4, 2.0, 3.0, "per_token"),
    "rmu_cosine_random": lambda: RMUCosine([1, 4], "random", 3.0, 0.5),
    "rmu_cosine_opposite": lambda: RMUCosine([1, 4], "opposite", 3.0, 0.5),
    "rmu_cosine_orthogonal": lambda: RMUCosine([1, 4], "orthogonal", 3.0, 0.5),
    "probe_project": lambda: probed("project"),
    "probe_push_kl": lambda: probed("push", kl=0.5),
    "circuit_breaking": lambda: CircuitBreaking([1, 4], 10.0, 2),
    "grad_ascent": GradAscent,
    "nll": Finetune,
    "grad_diff_embed_diff": lambda: GradDiff(1.0, 2.0, EmbedDiff([1, 4])),
    "npo": lambda: NPO(0.3, 1.0, 2.0, NLL()),
    "npo_kl": lambda: NPO(0.3, 1.0, 2.0, KL()),
    "simnpo": lambda: SimNPO(2.0, 0.1, 1.0, 2.0, NLL()),
    "dpo": lambda: DPO(0.3, 1.0, 2.0, NLL()),
    "idk_dpo": lambda: IdkDPO(0.3, 1.0, 2.0, NLL()),
    "altpo": lambda: AltPO(0.3, 1.0, 2.0, NLL()),
    "undial": lambda: UNDIAL(3.0, 1.0, 2.0, NLL()),
    "pdu": lambda: PDU(0.5, 1.0, 1.0, 2.0, NLL()),
}


def probed(loss: str, kl: float = 0.0) -> ProbeDirections:
    objective = ProbeDirections([1, 4], loss, 1.0, "accuracy", 3.0, kl)
    objective.take_probes({
        "direction": torch.nn.functional.normalize(torch.randn(2, D), dim=-1), "threshold": torch.tensor([0.1, 0.2]),
        "neutral_mean": torch.tensor([0.3, -0.1]), "neutral_scale": torch.tensor([1.0, 2.0]),
        "accuracy": torch.tensor([0.9, 0.8]), "control": torch.tensor([0.5, 0.5]),
    })  # fmt: skip
    return objective


def outputs(generator: torch.Generator) -> dict[str, Tensor]:
    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {"1": draw(2, 4, D), "4": draw(2, 4, D), "logits": draw(2, 4, V), "logprobs": -draw(2, 4).abs()}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients(name: str) -> None:
    objective = OBJECTIVES[name]()
    objective.setup(D, 1, torch.Generator().manual_seed(1))
    objective.double()
    objective.after_step({"forget": 1.0, "retain": 1.0})
    batch = make_batch((4, 4), width=4, seed=1)
    batch.input_ids.remainder_(V)
    batch.labels.remainder_(V)
    generator = torch.Generator().manual_seed(0)
    sides = list(objective.needs())
    policy = {side: outputs(generator) for side in sides}
    frozen = {side: wrap(outputs(generator)) for side in sides}
    inputs = [policy[side][key].requires_grad_(True) for side in sides for key in policy[side]]

    def total(*tensors: Tensor) -> Tensor:
        given = iter(tensors)
        views = {
            side: View(batch, wrap({key: next(given) for key in policy[side]}), frozen[side])
            for side in sides
        }
        return objective(**views).total

    assert total(*inputs).dtype == torch.float64
    assert torch.autograd.gradcheck(total, inputs, eps=1e-6, atol=1e-7, rtol=1e-5)


def wrap(tensors: dict[str, Tensor]) -> Outputs:
    return Outputs({1: tensors["1"], 4: tensors["4"]}, tensors["logits"], tensors["logprobs"])
