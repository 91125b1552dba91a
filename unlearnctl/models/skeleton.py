"""The parameters of a model by name and shape, with no storage behind them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlearnctl.errors import UserError, brief

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

MLP_OUT = ("mlp.down_proj", "mlp.dense_4h_to_h", "mlp.c_proj", "mlp.fc2", "mlp.fc_out", "fc2", "ffn.w2")


@dataclass(frozen=True)
class Skeleton:
    """The parameters of a model, by Hugging Face name, and where its parts are; no storage behind it."""

    shapes: Mapping[str, tuple[int, ...]]
    blocks: str  # path of the block list, e.g. "model.layers"
    num_blocks: int
    hidden_size: int
    mlp_out: str
    tied: frozenset[str]  # names that share another's storage

    def block_of(self, name: str) -> int | None:
        """Index of the block that a parameter is in; None outside the blocks."""
        match = re.match(re.escape(self.blocks) + r"\.(\d+)\.", name)
        return int(match[1]) if match else None

    def count(self, names: set[str] | None = None) -> int:
        """Number of parameters, tied ones once."""
        total = 0
        for name, shape in self.shapes.items():
            if name not in self.tied and (names is None or name in names):
                size = 1
                for n in shape:
                    size *= n
                total += size
        return total


def skeleton(
    config: PretrainedConfig, blocks: str | None = None, trust_remote_code: bool = False
) -> Skeleton:
    """Build the model on the meta device and read off names and shapes (about a second for 8B).

    Raises:
        UserError: `model.blocks` names no block list, or none can be detected.
    """
    import torch
    from transformers import AutoModelForCausalLM

    where = f"model.path={config.name_or_path}"
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    except ValueError as error:
        raise UserError(f"{where}: {config.model_type} is not a causal language model") from error
    except Exception as error:  # sizes that do not go together fail anywhere
        raise UserError(f"{where}: no model can be built from its config.json ({brief(error)})") from error
    path = blocks or find_blocks(model)
    try:
        block_list = model.get_submodule(path)
        count = len(block_list)
    except (AttributeError, TypeError) as error:
        raise UserError(f"model.blocks={path}: not a block list of {type(model).__name__}") from error
    if not count:
        raise UserError(f"{where}: its config.json has no blocks")
    names = {name for name, _ in block_list[0].named_modules()}
    return Skeleton(
        shapes={n: tuple(p.shape) for n, p in model.named_parameters(remove_duplicate=False)},
        blocks=path,
        num_blocks=count,
        hidden_size=config.get_text_config().hidden_size,
        mlp_out=next((name for name in MLP_OUT if name in names), MLP_OUT[0]),
        tied=frozenset(tied_names(model)),
    )


def tied_names(model: PreTrainedModel) -> set[str]:
    """Parameters that repeat another one under a second name (tied embeddings)."""
    first = {name for name, _ in model.named_parameters()}
    return {name for name, _ in model.named_parameters(remove_duplicate=False)} - first


def find_blocks(model: PreTrainedModel) -> str:
    """Path of the decoder's block list: the longest ModuleList directly under the base model."""
    import torch

    base = model.base_model
    prefix = f"{model.base_model_prefix}." if base is not model else ""
    lists = {name: len(m) for name, m in base.named_children() if isinstance(m, torch.nn.ModuleList)}
    if not lists:
        raise UserError(f"model.blocks=null: no block list found in {type(model).__name__}; name its path")
    return prefix + max(lists, key=lambda name: lists[name])
