"""The parameters of a model by name and shape, without storage: enough for plans and checks before any load."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unlearnctl.utils.errors import UserError, brief

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

# What architectures call the matrix out of an MLP, from Llama's down_proj and GPT-NeoX's dense_4h_to_h to RWKV's
# feed_forward.value. GPT-2 has a c_proj in its attention too, which ATTENTION keeps out.
MLP_OUT = re.compile(
    r"(?:^|\.)(?:down_proj|dense_4h_to_h|c_proj|fc2|fc_out|w2|output_linear|Wo|ffn\.2|feed_forward\.value)(?:\.weight)?$"
)
ATTENTION = re.compile(r"attn|attention")


@dataclass(frozen=True)
class Skeleton:
    """The parameters of a model by Hugging Face name, and where its parts are."""

    shapes: Mapping[str, tuple[int, ...]]
    blocks: str  # path of the block list, e.g. "model.layers"
    num_blocks: int
    hidden_size: int
    tied: frozenset[str]  # names that share another's storage
    linear: frozenset[str]  # weights of linear modules; routers and stacks of experts are matrices too
    has_trunk: bool = True  # whether `AutoModel` is this model without its head

    def block_of(self, name: str) -> int | None:
        """Return the index of the block that a parameter is in; None outside the blocks."""
        match = re.match(re.escape(self.blocks) + r"\.(\d+)\.", name)
        return int(match[1]) if match else None

    def mlp_outputs(self, block: int) -> list[str]:
        """Return the matrices by which a block's MLP writes to the stream, those of experts included."""
        start = f"{self.blocks}.{block}."
        inside = {name: name.removeprefix(start) for name in self.shapes if name.startswith(start)}
        return [
            name
            for name, part in inside.items()
            if len(self.shapes[name]) > 1 and MLP_OUT.search(part) and not ATTENTION.search(part)
        ]

    def count(self, names: set[str] | None = None) -> int:
        """Count parameters, tied ones once; `names` restricts the count."""
        counted = (n for n in self.shapes if n not in self.tied and (names is None or n in names))
        return sum(math.prod(self.shapes[name]) for name in counted)


def skeleton(
    config: PretrainedConfig, blocks: str | None = None, trust_remote_code: bool = False
) -> Skeleton:
    """Build the model on the meta device and read off names and shapes (about a second for 8B).

    Raises:
        UserError: `model.blocks` does not name a block list, or none can be detected.
    """
    import torch

    where = f"model.path={config.name_or_path}"
    try:
        with torch.device("meta"):  # no storage, so that the plan of a 70B model fits on a laptop
            model = auto_class(config).from_config(config, trust_remote_code=trust_remote_code)
    except ValueError as error:
        raise UserError(f"{where}: {config.model_type} is not a causal language model") from error
    except Exception as error:  # inconsistent sizes fail anywhere in a constructor
        raise UserError(f"{where}: no model can be built from its config.json ({brief(error)})") from error
    path = blocks or find_blocks(model)
    try:
        block_list = model.get_submodule(path)
        count = len(block_list)
    except (AttributeError, TypeError) as error:
        raise UserError(f"model.blocks={path}: not a block list of {type(model).__name__}") from error
    if not count:
        raise UserError(f"{where}: its config.json has no blocks")
    return Skeleton(
        shapes={n: tuple(p.shape) for n, p in model.named_parameters(remove_duplicate=False)},
        blocks=path,
        num_blocks=count,
        hidden_size=config.get_text_config().hidden_size,
        tied=frozenset(tied_names(model)),
        linear=frozenset(f"{n}.weight" for n, m in model.named_modules() if isinstance(m, linear_kinds())),
        has_trunk=_has_trunk(model, config),
    )


def linear_kinds() -> tuple[type, ...]:
    """Return the module types that multiply by one matrix: torch's, and GPT-2's transposed one."""
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    return Linear, Conv1D


def tied_names(model: PreTrainedModel) -> set[str]:
    """Return the second names of tied parameters."""
    first = {name for name, _ in model.named_parameters()}
    return {name for name, _ in model.named_parameters(remove_duplicate=False)} - first


def find_blocks(model: PreTrainedModel) -> str:
    """Return the path of the text decoder's block list: the longest ModuleList at the highest level."""
    import torch

    paths = {id(module): name for name, module in model.named_modules()}
    for part in (model.get_decoder(), model.base_model):  # in some models the head is called decoder
        lists = {name: m for name, m in part.named_modules() if isinstance(m, torch.nn.ModuleList)}
        if lists:
            break
    else:
        raise UserError(f"model.blocks=null: no block list found in {type(model).__name__}; name its path")
    found = min(lists, key=lambda name: (name.count("."), -len(lists[name])))
    return paths[id(lists[found])]


def auto_class(config: PretrainedConfig) -> Any:
    """Return the auto class that builds the whole model: a causal LM, or one that reads images as well as text."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    )

    kind, stored = config.model_type, config.architectures or [""]
    # Some families are registered both ways; what the weights were saved as then decides.
    images = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.get(kind)
    if images and (kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or stored[0] == images):
        return AutoModelForImageTextToText
    return AutoModelForCausalLM


def _has_trunk(model: PreTrainedModel, config: PretrainedConfig) -> bool:
    """Return whether `AutoModel` builds this model without its head, so that a trunk can be loaded alone."""
    from transformers import MODEL_MAPPING

    known: Any = MODEL_MAPPING.get(type(config), None)  # None: remote code
    base = model.base_model
    return known is None or (type(base) is known and getattr(base, "pooler", base) is not None)
