"""Values that can be checked one by one, before anything loads: trainer, tracker, model folder."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnctl.config.instantiate import build
from unlearnctl.data.spec import DataSpec
from unlearnctl.data.streams import check_batch
from unlearnctl.models.folder import shards
from unlearnctl.models.limits import check_length
from unlearnctl.models.skeleton import Skeleton, skeleton
from unlearnctl.models.spec import ModelSpec
from unlearnctl.models.storage_layout import headers
from unlearnctl.training.settings import TrainerSettings
from unlearnctl.utils.errors import UserError, brief, unknown
from unlearnctl.utils.validate import read

if TYPE_CHECKING:
    from transformers import PretrainedConfig

DEQUANTISE = (
    "changed weights cannot be written back, so give a folder with the dequantised model (its dequantize(), then "
    "save_pretrained(), in transformers)"
)


def trainer_settings(cfg: Mapping[str, Any]) -> TrainerSettings:
    """Read `cfg.trainer`, all but the optimiser's own arguments.

    Raises:
        UserError: see `read`; or a global batch that does not divide.
    """
    settings = read(TrainerSettings, "trainer", cfg)
    check_batch(settings.global_batch, settings.micro_batch or 1, int(os.environ.get("WORLD_SIZE", "1")))
    return settings


def try_optimizer(node: Mapping[str, Any]) -> None:
    """Make the optimiser over one number: its class alone knows its arguments.

    The last of the checks, because torch's compiler is imported with the first optimiser (seconds).
    """
    import torch

    build("trainer.optimizer", node, params=[torch.nn.Parameter(torch.zeros(1))])


def check_lengths(spec: DataSpec, config: PretrainedConfig) -> None:
    """Refuse texts of more tokens than the model has positions for."""
    check_length("data.max_length", spec.max_length, config)
    for side in ("forget", "retain"):
        for topic, corpus in getattr(spec, side).items():
            key = f"data.{side}" if topic == "all" else f"data.{side}.{topic}"
            check_length(f"{key}.max_length", corpus.max_length, config)


def check_read(parts: Mapping[str, Any], key: str, config: PretrainedConfig) -> None:
    """Check the `max_length` of suites or attacks that cut what they read."""
    for name, part in parts.items():
        check_length(f"{key}.{name}.max_length", getattr(part, "max_length", None), config)


def check_model(spec: ModelSpec, shape: Skeleton | None = None) -> None:
    """Check what is known of the weights without reading them: attention, whether the shards are whole and fit."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    known = ["eager", *(name for name in ALL_ATTENTION_FUNCTIONS.valid_keys() if "|" not in name)]
    asked = spec.attn_implementation
    if asked is not None and asked not in known and "/" not in asked:  # a/b: a kernel from the hub
        raise unknown("model.attn_implementation", asked, known)
    config = spec.config  # says what is wrong with the folder, if it is not the shards
    if spec.is_local:
        key = f"model.path={spec.path}"
        found = check_weights(Path(spec.path), key)
        _check_shapes(found, shape or skeleton(config, spec.blocks, spec.trust_remote_code), key)


def check_weights(folder: Path, key: str) -> dict[str, tuple[int, ...]]:
    """Shape of each stored tensor; headers alone are read.

    Raises:
        UserError: a safetensors shard is missing, cut short or something else.
    """
    from safetensors import SafetensorError, safe_open

    shard, shapes = "model.safetensors", dict[str, tuple[int, ...]]()
    try:
        for shard in shards(folder):
            with safe_open(folder / shard, framework="numpy") as file:
                shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise UserError(f"{key}: its index names {shard}, which is missing") from error
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise UserError(f"{key}: weights damaged, or not fetched whole ({brief(error)})") from error
    return shapes


def check_writable(spec: ModelSpec, key: str = "") -> None:
    """Refuse a model whose changed weights could not be written back into its folder.

    Raises:
        UserError: its weights are quantised.
    """
    key = key or f"model.path={spec.path}"
    found = getattr(spec.config, "quantization_config", None)
    if found:
        found = found if isinstance(found, Mapping) else vars(found)
        raise UserError(f"{key}: quantised ({found.get('quant_method', 'by its config.json')}); {DEQUANTISE}")
    stored: Mapping[str, Any] = {}
    with suppress(OSError, ValueError, UserError):  # what cannot be read is `check_model`'s to say
        stored = headers(Path(spec.path)) if spec.is_local else {}
    for name, entry in stored.items():
        kind = str(entry.get("dtype")) if isinstance(entry, Mapping) else ""
        if re.match(r"F[468](_|$)", kind) or (re.match("[IU]", kind) and name.endswith("weight")):
            raise UserError(f"{key}: quantised ({name} is stored as {kind}); {DEQUANTISE}")


def _check_shapes(stored: Mapping[str, tuple[int, ...]], shape: Skeleton, key: str) -> None:
    """Refuse weights of another model. Names may differ (some architectures rename theirs); shapes may not."""
    both = [name for name in stored if name in shape.shapes]
    for name in both:
        if stored[name] != shape.shapes[name]:
            raise UserError(
                f"{key}: {name} is {list(stored[name])} in its weights, {list(shape.shapes[name])} by its config.json"
            )
    for name in shape.shapes:
        index = shape.block_of(name)
        first = name.replace(f"{shape.blocks}.{index}.", f"{shape.blocks}.0.", 1)
        if index and first in stored and name not in stored and name not in shape.tied:
            raise UserError(f"{key}: its weights lack {name}")
    endings = {name.rpartition(".layers.")[2] for name in shape.shapes}
    if not both and not any(name.rpartition(".layers.")[2] in endings for name in stored):
        raise UserError(f"{key}: none of its tensors is one of the model that its config.json describes")
