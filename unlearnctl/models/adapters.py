"""LoRA through peft: trains a low-rank update of each matrix instead of the matrix, for any objective.

The base weights never change, so the reference is the model with its adapters as they started, when B is zero. What
is saved is the merged matrix, so that a checkpoint looks the same however it was trained.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from warnings import catch_warnings, simplefilter

from pydantic import PositiveFloat, PositiveInt

from unlearnctl.models.partial.decoder import trunk_prefix
from unlearnctl.models.skeleton import Skeleton
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

ADAPTER = "default"
READ_BY_KERNELS = re.compile(r"(?<=\.mixer|\.mamba)\.(?:out_proj|x_proj|dt_proj)\.weight$")


@dataclass(frozen=True)
class Lora:
    """`trainer.lora`: W + (alpha / rank) · B A, with A [rank, in] and B [out, rank] (Hu et al., arXiv 2106.09685)."""

    rank: PositiveInt
    alpha: PositiveFloat

    def parameters(self, shape: tuple[int, ...]) -> int:
        """Return how many parameters train in place of a matrix."""
        return self.rank * sum(shape)


def adaptable(names: Sequence[str], shape: Skeleton) -> list[str]:
    """Return the names that are weights of linear modules inside blocks.

    Raises:
        UserError: there are none, or one of them cannot have an adapter.
    """
    chosen = [name for name in names if shape.block_of(name) is not None and name in shape.linear]
    if not chosen:
        raise UserError(
            f"trainer.lora: {names[0]} is not a matrix inside a block, nor is anything else that trains"
        )
    for name in chosen:
        read = READ_BY_KERNELS.search(name)
        if read and f"{name[: read.start()]}.A_log" in shape.shapes:
            raise UserError(
                f"trainer.lora: {name} cannot have an adapter, because Mamba's kernels read the matrix itself; "
                r"train other matrices, as in 'trainer.trainable=[in_proj]'"
            )
    return chosen


def add_adapters(model: PreTrainedModel, blocks: str, names: Sequence[str], lora: Lora) -> list[str]:
    """Add an adapter to each matrix; return the names of what now trains, as the whole causal LM has them.

    Adapters are float32 whatever the base's dtype. Their initial values come from torch's global generator.

    Raises:
        UserError: a matrix got no adapter.
    """
    from peft import LoraConfig, inject_adapter_in_model

    prefix = trunk_prefix(model)
    modules = [name.removeprefix(f"{blocks}.").removesuffix(".weight") for name in names]
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=modules)  # type: ignore[arg-type]
    # Given the whole model, peft would mistake experts' matrices for their stacks, and drop the rest of the list.
    block_list = model.get_submodule(blocks.removeprefix(prefix))
    with catch_warnings():
        simplefilter("ignore")  # peft warns about every Conv1D
        inject_adapter_in_model(config, block_list, adapter_name=ADAPTER)
    wrapped = {name for name, module in block_list.named_modules() if hasattr(module, "get_delta_weight")}
    if wrapped != set(modules):
        lost = sorted(wrapped ^ set(modules))[0]
        raise UserError(f"trainer.lora: peft did not put adapters where they were planned: {blocks}.{lost}")
    trained = []
    for name, parameter in model.named_parameters():
        if f".lora_A.{ADAPTER}." in name or f".lora_B.{ADAPTER}." in name:
            parameter.data = parameter.data.float()
            trained.append(prefix + name)
    return trained


def merged(model: PreTrainedModel, names: Sequence[str]) -> dict[str, Tensor]:
    """Return the matrices `names` with their adapters added, in float32."""
    prefix = trunk_prefix(model)
    out = {}
    for name in names:
        layer = model.get_submodule(name.removeprefix(prefix).removesuffix(".weight"))
        update = layer.get_delta_weight(ADAPTER)  # type: ignore[operator]
        out[name] = layer.base_layer.weight.detach().float() + update.detach().float()  # type: ignore[union-attr,operator]
    return out
