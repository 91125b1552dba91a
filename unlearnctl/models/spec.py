"""What can be known of a model before any weight is read: config, parameter names and shapes, tokenizer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnctl.errors import UserError, nearest, unknown, unknown_key
from unlearnctl.models.cached import check_cached
from unlearnctl.models.remote_code import code_of
from unlearnctl.paths import provide, resolve

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

DTYPES = ("float32", "bfloat16", "float16")
MLP_OUT = ("mlp.down_proj", "mlp.dense_4h_to_h", "mlp.c_proj", "mlp.fc2", "mlp.fc_out", "fc2", "ffn.w2")


@dataclass(frozen=True)
class ModelSpec:
    """One entry of `conf/model/`, checked as far as that goes without weights."""

    name: str
    path: str  # hub id or local folder, `tinyworld:` already resolved
    revision: str | None = None
    dtype: str = "float32"
    attn_implementation: str | None = None  # None: the best that the architecture supports
    blocks: str | None = None
    trust_remote_code: bool = False
    shape: Mapping[str, Any] | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_config(cls, cfg: Mapping[str, Any]) -> ModelSpec:
        """Take `cfg.model`.

        Raises:
            UserError: an unknown key or dtype.
        """
        known = set(cls.__dataclass_fields__)
        for key in cfg:
            if key not in known:
                raise unknown_key("model", key, known)
        if not isinstance(cfg.get("path"), str) or not cfg["path"]:
            raise UserError("model.path=: required; a Hugging Face folder or hub id")
        if cfg.get("dtype", "float32") not in DTYPES:
            raise unknown("model.dtype", cfg["dtype"], DTYPES)
        return cls(**{**cfg, "path": resolve(str(cfg["path"]))})

    @property
    def is_local(self) -> bool:
        """True if `path` is a folder on this machine."""
        return Path(self.path).is_dir()

    @property
    def torch_dtype(self) -> torch.dtype | str:
        """`dtype` as torch names it ("auto": as stored)."""
        import torch

        return getattr(torch, self.dtype, self.dtype)

    def load_kwargs(self) -> dict[str, Any]:
        """What every `from_pretrained` of this model gets."""
        revision = None if self.is_local else self.revision
        return {"trust_remote_code": self.trust_remote_code, **({"revision": revision} if revision else {})}

    @cached_property
    def config(self) -> PretrainedConfig:
        """The model's Hugging Face config, from its folder or the hub.

        Raises:
            UserError: no such folder, no config.json, hub repository gated, absent or out of reach.
        """
        from transformers import AutoConfig

        provide(self.path)
        check_folder(self.path)
        if not self.is_local:
            check_cached(self.path, self.revision)
        if self.trust_remote_code:
            print(code_of(self.path, self.revision))
        try:
            config = AutoConfig.from_pretrained(self.path, **self.load_kwargs())
        except Exception as error:  # whatever the library says to a strange config.json
            raise UserError(f"model.path={self.path}: {explain(error)}") from error
        self._check_kernels(config)
        return config

    def _check_kernels(self, config: PretrainedConfig) -> None:
        """`a/b` as a way to attend is a repository of the hub, whose code would run."""
        for name in (self.attn_implementation, getattr(config, "_attn_implementation", None)):
            if "/" in (name or ""):
                if not self.trust_remote_code:
                    raise UserError(
                        f"model.attn_implementation={name}: code from the hub; needs model.trust_remote_code=true"
                    )
                print(f"model.trust_remote_code=true: runs the kernel {name} of the hub")

    def planned_config(self) -> PretrainedConfig:
        """`config`, or without access the one that `shape` describes (for plans only)."""
        if self.shape and not self.is_local:
            from transformers import AutoConfig

            shape = dict(self.shape)
            return AutoConfig.for_model(shape.pop("model_type"), **shape)
        return self.config

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer, with a padding token.

        Raises:
            UserError: none found, or its vocabulary is larger than the model's.
        """
        config = self.config
        try:
            tokenizer = _tokenizer_class(self.path).from_pretrained(self.path, **self.load_kwargs())
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"model.path={self.path}: no usable tokenizer there ({brief(error)})") from error
        size, vocabulary = len(tokenizer), config.get_text_config().vocab_size
        if size > vocabulary:
            raise UserError(
                f"model.path={self.path}: tokenizer and model disagree: "
                f"{size} tokens, but the model's vocabulary has {vocabulary}"
            )
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        if tokenizer.pad_token is None:
            raise UserError(f"model.path={self.path}: the tokenizer has no pad, eos or unk token to pad with")
        return tokenizer


def _tokenizer_class(path: str) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        named = json.loads((Path(path) / "tokenizer_config.json").read_text(encoding="utf-8"))[
            "tokenizer_class"
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return AutoTokenizer
    # transformers 5 gives some architectures (Qwen2) their own tokenizer even where the folder says "just
    # tokenizer.json", and then encodes everything as one unknown token
    generic = named in ("PreTrainedTokenizerFast", "TokenizersBackend")
    return PreTrainedTokenizerFast if generic else AutoTokenizer


def check_folder(path: str, key: str = "model.path") -> None:
    """Refuse a local folder that is absent or cannot be a safetensors model.

    Raises:
        UserError: in one line, with the nearest sibling's name if the folder does not exist.
    """
    folder = Path(path)
    looks_local = path.startswith(("/", "./", "../", "~")) or path.count("/") != 1
    if not folder.exists() and looks_local:
        siblings = [p.name for p in folder.parent.iterdir()] if folder.parent.is_dir() else []
        raise UserError(f"{key}={path}: no such folder{nearest(folder.name, siblings)}")
    if folder.is_file():
        raise UserError(f"{key}={path}: a file; give the Hugging Face folder that holds it")
    if not folder.is_dir():
        return
    if not (folder / "config.json").is_file():
        raise UserError(f"{key}={path}: no config.json there, so it is not a Hugging Face model folder")
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{key}={path}: its config.json is not JSON ({brief(error)})") from error
    if not isinstance(found, dict):
        raise UserError(f"{key}={path}: its config.json is not a mapping of settings")
    if (folder / "adapter_config.json").is_file():
        raise UserError(f"{key}={path}: a PEFT adapter (adapter_config.json); merge it into a model first")
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(p.name for pattern in ("*.bin", "*.pt", "*.pth") for p in folder.glob(pattern))
        found = (
            f"only pickle weights ({pickles[0]}), which may run code when read" if pickles else "no weights"
        )
        raise UserError(f"{key}={path}: {found}; safetensors are required")


def explain(error: Exception) -> str:
    """Why a hub repository could not be read, and what to do, from the library's long message."""
    text = str(error)
    if re.search(r"custom code|trust_remote_code", text):
        return "has Python code of its own, which would run; read it, and if it may, add model.trust_remote_code=true"
    if re.search(r"gated|401|403|authenticated", text, re.IGNORECASE):
        return "gated or private repository: run `hf auth login` with access, or give a local folder"
    if re.search(r"offline|connect|resolve|reach|internet|cached|timed out", text, re.IGNORECASE):
        return "no local folder of that name, and the hub is out of reach: give a local folder, or go online"
    if re.search(r"404|not a valid model identifier|not found", text, re.IGNORECASE):
        return "no such repository on the hub and no such local folder"
    return brief(error)


def brief(error: Exception) -> str:
    """The first line of a library's message, at most 200 characters."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()] or [
        type(error).__name__
    ]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1])[:200]


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


def _shards(index: Any) -> dict[str, str]:
    named = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(named, dict):
        raise ValueError("its index has no weight_map")
    for shard in named.values():
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise ValueError(f"its index names {shard}, which is no safetensors file of the folder")
    return named


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


def weight_index(folder: Path) -> dict[str, str]:
    """Tensor name → shard file name of a local safetensors folder.

    Raises:
        ValueError: the index is not one, or names anything but safetensors files in the folder itself.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return _shards(json.loads(index.read_text(encoding="utf-8")))
    from safetensors import safe_open

    found: dict[str, str] = {}
    for shard in sorted(folder.glob("*.safetensors")):
        with safe_open(shard, framework="numpy") as file:
            found.update(dict.fromkeys(file.keys(), shard.name))
    return found
