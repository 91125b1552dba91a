"""Everything of a training run that can fail before weights load: config, data, tokenizer, names, disk."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from unlearnctl.data.spec import CorpusSpec, DataSpec
from unlearnctl.data.streams import check_batch
from unlearnctl.errors import UserError, unknown
from unlearnctl.models.adapters import Lora, adaptable, lora_from_config
from unlearnctl.models.spec import ModelSpec, Skeleton, brief, skeleton, weight_index
from unlearnctl.models.tapped import can_remember
from unlearnctl.models.trainable import lowest_block, match
from unlearnctl.objectives.base import Objective
from unlearnctl.training.settings import Monitor, TrainerSettings

if TYPE_CHECKING:
    from unlearnctl.evaluation.run import Suite


@dataclass
class Prepared:
    """A run that is known to make sense."""

    spec: ModelSpec
    skeleton: Skeleton
    objective: Objective
    settings: TrainerSettings
    suites: dict[str, Suite]
    trainable: list[str]
    lowest: int
    top: int  # highest block that must run in training
    trunk: bool  # whether only blocks 0..top are loaded for training
    lora: Lora | None  # train low-rank updates of `trainable` instead


def prepare(cfg: DictConfig, offline: bool = False) -> Prepared:
    """Check a training config against its model; `offline` plans from `model.shape` without any access.

    Raises:
        UserError: one line that names the key at fault.
    """
    if "eval" not in cfg:  # what Hydra makes of eval=[]
        with open_dict(cfg):
            cfg.eval = {}
    check_seed(cfg.seed)
    check_kind("launch.dry_run", cfg.launch.dry_run, bool)
    settings = trainer_settings(plain(cfg.trainer))
    check_data(plain(cfg.data))
    objective = build_objective(cfg.objective)
    suites = build_suites(cfg.eval)
    _check_overrides(cfg, settings, suites)
    check_kinds("model", plain(cfg.model), ModelSpec)
    spec = ModelSpec.from_config(plain(cfg.model))
    config = spec.planned_config() if offline else spec.config
    shape = _skeleton(spec, config)
    if not offline:
        check_model(spec)
    check_layers(objective, shape, spec.name)
    names = [name for name in shape.shapes if name not in shape.tied]
    matched = match(settings.trainable or objective.trainable(shape), names)
    needs = objective.needs().values()
    head = any(need.head for need in needs)
    top = shape.num_blocks - 1 if head else max(max(need.layers) for need in needs)
    trainable = matched if head else _reached(matched, shape, top)
    lora = lora_from_config(settings.lora)
    trainable = adaptable(trainable, shape) if lora else trainable
    trunk = _wants_trunk(settings, head)
    if settings.sharding == "fsdp":
        _check_sharded_reference(objective, settings, trainable, shape)
    lowest = lowest_block(trainable, shape)
    return Prepared(spec, shape, objective, settings, suites, trainable, lowest, top, trunk, lora)


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The resolved config as plain containers."""
    out = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(out, dict)
    return out  # type: ignore[return-value]


def build_objective(cfg: DictConfig) -> Objective:
    """Instantiate `cfg.objective`; its `name` is for paths and tables only."""
    return build("objective", {k: v for k, v in plain(cfg).items() if k != "name"})


def build_suites(cfg: DictConfig, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """Instantiate the suites of `cfg.eval`, with some settings replaced."""
    return {
        name: build(f"eval.{name}", {**suite, **(overrides or {}).get(name, {})})
        for name, suite in plain(cfg).items()
    }


def build(key: str, node: Mapping[str, Any]) -> Any:
    """Instantiate one config node.

    Raises:
        UserError: no such class, or arguments that it does not take, named with their config key.
    """
    try:
        _check_arguments(key, node)
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        raise UserError(f"{key}: {_first_line(cause or error)}") from error


def _check_arguments(key: str, node: Mapping[str, Any]) -> None:
    """Refuse what the constructor would not take, before it fails somewhere inside."""
    try:
        init = get_class(node["_target_"]).__init__  # type: ignore[misc]
    except (KeyError, ImportError, ValueError) as error:
        raise UserError(f"{key}._target_={node.get('_target_')}: no such class") from error
    parameters = {} if init is object.__init__ else inspect.signature(init).parameters
    open_ended = any(p.kind == p.VAR_KEYWORD for p in parameters.values())
    for name in node:
        if name not in parameters and not name.startswith("_") and not open_ended:
            raise unknown(key, name, [p for p in parameters if p != "self"])
    check_kinds(key, node, init)


def check_kinds(key: str, values: Mapping[str, Any], annotated: Any) -> None:
    """Refuse a value of the wrong kind, going by the annotations of a class or function."""
    for name, wanted in get_type_hints(annotated).items():
        if name in values and name != "path":  # a missing path has a sentence of its own
            check_kind(f"{key}.{name}", values[name], wanted)
            least_one = name in ("batch_size", "limit", "continuations", "max_new_tokens")
            if least_one and values[name] is not None and values[name] < 1:
                raise UserError(f"{key}.{name}={values[name]}: must be a positive number")


def check_kind(key: str, value: object, wanted: Any) -> None:
    """Refuse `value` unless it is of a kind that `wanted`, a type annotation, names."""
    options = get_args(wanted) if get_origin(wanted) in (UnionType, Union) else [wanted]
    named = [KINDS[o] for o in options if o in KINDS]
    if len(named) == len(options) and not any(_fits(value, option) for option in options):
        shown = "null" if value is None else value
        raise UserError(f"{key}={shown}: must be {' or '.join(named)}")


KINDS: dict[Any, str] = {
    int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "null",
    Sequence[int]: "a list of whole numbers", Sequence[str]: "a list of texts", list[str]: "a list of texts",
}  # fmt: skip


def _fits(value: object, option: Any) -> bool:
    if get_origin(option):
        return isinstance(value, list) and all(_fits(v, get_args(option)[0]) for v in value)
    if option in (int, float):
        return isinstance(value, int if option is int else int | float) and not isinstance(value, bool)
    return isinstance(value, option)


def check_seed(seed: object) -> None:
    """Refuse a seed that some generator would not take."""
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise UserError(f"seed={seed}: must be a whole number, 0 to {2**32 - 1}")


def trainer_settings(cfg: Mapping[str, Any]) -> TrainerSettings:
    """`cfg.trainer`, with the optimiser's own arguments tried out on a number.

    Raises:
        UserError: an unknown key, a value of the wrong kind or out of range.
    """
    for key in ("optimizer", "monitor"):
        if not isinstance(cfg.get(key), Mapping):
            raise UserError(
                f"trainer.{key}={cfg.get(key)}: must be a mapping, as in conf/trainer/default.yaml"
            )
    check_kinds("trainer", cfg, TrainerSettings)
    check_kinds("trainer.monitor", cfg["monitor"], Monitor)
    settings = TrainerSettings.from_config(cfg)
    clip, damage = settings.clip_norm, settings.monitor.max_retain_damage
    if clip is not None and not clip > 0:
        raise UserError(f"trainer.clip_norm={clip}: must be positive, or null")
    if damage is not None and not 0 <= damage <= 1:
        raise UserError(f"trainer.monitor.max_retain_damage={damage}: must be 0 to 1, or null")
    if settings.warmup_steps < 0:
        raise UserError(f"trainer.warmup_steps={settings.warmup_steps}: must be a whole number, 0 or more")
    if not math.isfinite(settings.optimizer["lr"]):
        raise UserError(f"trainer.optimizer.lr={settings.optimizer['lr']}: must be a positive number")
    if settings.trainable == []:
        raise UserError("trainer.trainable=[]: must name something; null is the objective's own choice")
    check_batch(settings.global_batch, settings.micro_batch or 1, int(os.environ.get("WORLD_SIZE", "1")))
    _try_optimizer(settings.optimizer)
    return settings


def _try_optimizer(node: Mapping[str, Any]) -> None:
    import torch

    try:
        get_class(str(node.get("_target_")))
    except (ImportError, ValueError) as error:
        raise UserError(f"trainer.optimizer._target_={node.get('_target_')}: no such class") from error
    try:
        instantiate(node, params=[torch.nn.Parameter(torch.zeros(1))], _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__ or error
        raise UserError(f"trainer.optimizer: {_first_line(cause)}") from error


def check_data(cfg: Mapping[str, Any]) -> None:
    """Everything about `cfg.data` that needs no file."""
    check_kinds("data", cfg, DataSpec)
    for side in ("forget", "retain"):
        if not isinstance(cfg[side], Mapping):
            raise UserError(f"data.{side}={cfg[side]}: needs a path, or topics that each have one")
        topics = {"": cfg[side]} if "path" in cfg[side] else {f".{t}": c for t, c in cfg[side].items()}
        for topic, corpus in topics.items():
            if isinstance(corpus, Mapping):
                check_kinds(f"data.{side}{topic}", corpus, CorpusSpec)
    DataSpec.from_config(cfg)


def check_model(spec: ModelSpec) -> None:
    """What is known of the weights without reading them: how to attend, whether the shards are whole."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    known = ["eager", *(name for name in ALL_ATTENTION_FUNCTIONS.valid_keys() if "|" not in name)]
    asked = spec.attn_implementation
    if asked is not None and asked not in known and "/" not in asked:  # a/b: a kernel from the hub
        raise unknown("model.attn_implementation", asked, known)
    if spec.is_local:
        spec.config  # noqa: B018  says what is wrong with the folder, if it is not the shards
        check_weights(Path(spec.path), f"model.path={spec.path}")


def check_weights(folder: Path, key: str) -> None:
    """Refuse a safetensors shard that is missing, cut short or something else; headers alone are read."""
    from safetensors import SafetensorError, safe_open

    shard = "model.safetensors"
    try:
        for shard in sorted(set(weight_index(folder).values())):
            with safe_open(folder / shard, framework="numpy"):
                pass
    except FileNotFoundError as error:
        raise UserError(f"{key}: its index names {shard}, which is missing") from error
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise UserError(f"{key}: weights damaged, or not fetched whole ({brief(error)})") from error


def _skeleton(spec: ModelSpec, config: Any) -> Skeleton:
    try:
        return skeleton(config, spec.blocks, spec.trust_remote_code)
    except ValueError as error:  # an architecture that is no causal language model
        kind = getattr(config, "model_type", "?")
        raise UserError(f"model.path={spec.path}: {kind} is not a causal language model") from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", maxsplit=1)[0]


def _check_overrides(cfg: DictConfig, settings: TrainerSettings, suites: Mapping[str, Any]) -> None:
    if settings.monitor.every and not suites:
        raise UserError(
            f"trainer.monitor.every={settings.monitor.every}: in-training evaluation needs a suite in eval=[...]"
        )
    if settings.monitor.every and settings.monitor.overrides:
        build_suites(cfg.eval, settings.monitor.overrides)


def check_layers(objective: Objective, shape: Skeleton, model: str) -> None:
    """Refuse a block index that the model does not have."""
    for need in objective.needs().values():
        for layer in need.layers:
            if layer >= shape.num_blocks:
                raise UserError(
                    f"objective.layer={layer}: {model} has {shape.num_blocks} blocks, "
                    f"so a layer is 0 to {shape.num_blocks - 1}"
                )


def _reached(matched: list[str], shape: Skeleton, top: int) -> list[str]:
    """Leave out what lies above the last block that the objective reads: it would get no gradient.

    Raises:
        UserError: nothing is left.
    """
    reached = [name for name in matched if lowest_block([name], shape) <= top]
    if not reached:
        raise UserError(
            f"trainer.trainable: {matched[0]} lies above block {top}, the last one that this objective reads, "
            "and so does everything else it matches"
        )
    return reached


def _wants_trunk(settings: TrainerSettings, head: bool) -> bool:
    asked = str(settings.trunk).lower()
    if asked == "true" and head:
        raise UserError("trainer.trunk=true: this objective needs logits, so every block; use auto or false")
    if asked == "true" and settings.monitor.every:
        raise UserError(
            "trainer.trunk=true: in-training evaluation needs every block; set trainer.monitor.every=0"
        )
    return asked != "false" and not head and not settings.monitor.every


def _check_sharded_reference(
    objective: Objective, settings: TrainerSettings, trainable: list[str], shape: Skeleton
) -> None:
    """The reference's values pass through the slices of blocks; what is outside them stays gathered all along."""
    needs = objective.needs()
    compared = any(need.reference for need in needs.values())
    outside = next((name for name in trainable if shape.block_of(name) is None), None)
    if outside and compared and not can_remember(needs, hidden=settings.prefix_cache != "none"):
        raise UserError(
            f"trainer.sharding=fsdp: {outside} trains, and the objective compares with the original model; "
            r"train blocks alone, as in 'trainer.trainable=[layers\.]', or use a retain term without a reference"
        )
