"""Reads what is known of a model before its weights: config and tokenizer (for parameters, see skeleton.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unlearnctl.models.folder import check_folder, explain_hub_error
from unlearnctl.models.gguf import dequantised, gguf_file
from unlearnctl.models.hub_cache import check_cached
from unlearnctl.models.limits import check_ids
from unlearnctl.models.remote_code import code_of
from unlearnctl.tinyworld.resolve import provide, resolve
from unlearnctl.utils.errors import UserError, brief
from unlearnctl.utils.validate import read

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

Dtype = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class ModelSpec:
    """One entry of `conf/model/`, checked as far as possible without weights."""

    name: str
    path: str  # hub id or local folder; `tinyworld:` and GGUF files already resolved
    revision: str | None = None
    dtype: Dtype = "float32"
    attn_implementation: str | None = None  # None: the best that the architecture supports
    blocks: str | None = None
    trust_remote_code: bool = False
    shape: Mapping[str, Any] | None = None
    validation: Mapping[str, Any] | None = None  # suite -> settings while something is chosen
    relearn: Mapping[str, Any] | None = None  # settings of the attack
    recipe: Mapping[str, Any] = field(default_factory=dict)  # unused; configs of older runs still have it

    @classmethod
    def from_config(cls, cfg: Mapping[str, Any]) -> ModelSpec:
        """Take `cfg.model`.

        Raises:
            UserError: see `read`; or no path.
        """
        if not cfg.get("path"):
            raise UserError("model.path=: required; a Hugging Face folder or hub id")
        spec = read(cls, "model", cfg)
        path = resolve(spec.path)
        if packed := gguf_file(Path(path)):
            path = str(dequantised(packed))
        return replace(spec, path=path)

    @property
    def is_local(self) -> bool:
        """Return whether `path` is a folder on this machine."""
        return Path(self.path).is_dir()

    @property
    def torch_dtype(self) -> torch.dtype | str:
        """Return `dtype` as torch names it; "auto" means as stored."""
        import torch

        return getattr(torch, self.dtype, self.dtype)

    def load_kwargs(self) -> dict[str, Any]:
        """Return the arguments of every `from_pretrained` of this model."""
        revision = None if self.is_local else self.revision
        return {"trust_remote_code": self.trust_remote_code, **({"revision": revision} if revision else {})}

    @cached_property
    def config(self) -> PretrainedConfig:
        """Load the model's Hugging Face config, from its folder or the hub.

        Raises:
            UserError: there is no such folder or no config.json, or the hub repository is gated, absent or unreachable.
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
        except Exception as error:  # the library may fail in any way on a malformed config.json
            raise UserError(f"model.path={self.path}: {explain_hub_error(error)}") from error
        self._check_kernels(config)
        return config

    def _check_kernels(self, config: PretrainedConfig) -> None:
        """Refuse an attention kernel from the hub (`a/b`) unless its code is allowed to run."""
        for name in (self.attn_implementation, getattr(config, "_attn_implementation", None)):
            if "/" in (name or ""):
                if not self.trust_remote_code:
                    raise UserError(
                        f"model.attn_implementation={name}: code from the hub; needs model.trust_remote_code=true"
                    )
                print(f"model.trust_remote_code=true: runs the kernel {name} of the hub")

    def planned_config(self) -> PretrainedConfig:
        """Return the config that `shape` describes if there is one, so that plans need no access; else `config`."""
        if self.shape and not self.is_local:
            from transformers import AutoConfig

            shape = dict(self.shape)
            return AutoConfig.for_model(shape.pop("model_type"), **shape)
        return self.config

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Load the tokenizer, with a padding token; it refuses tokens for which the model has no embedding.

        Raises:
            UserError: there is no usable tokenizer.
        """
        config = self.config
        try:
            tokenizer = _tokenizer_class(self.path).from_pretrained(self.path, **self.load_kwargs())
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"model.path={self.path}: no usable tokenizer there ({brief(error)})") from error
        rows = config.get_text_config().vocab_size
        # Padding is masked but still embedded, so its token needs a row in the embedding.
        if tokenizer.pad_token is None or tokenizer.pad_token_id >= rows:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        if tokenizer.pad_token is None:
            raise UserError(f"model.path={self.path}: the tokenizer has no pad, eos or unk token to pad with")
        check_ids(tokenizer, rows, self.path)
        return tokenizer


def _tokenizer_class(path: str) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        config = json.loads((Path(path) / "tokenizer_config.json").read_text(encoding="utf-8"))
        named = config["tokenizer_class"]
    except (OSError, ValueError, KeyError, TypeError):
        return AutoTokenizer
    # For some architectures (Qwen2), transformers 5 builds their own tokenizer class even if the folder asks for plain
    # tokenizer.json, and then encodes everything as one unknown token.
    generic = named in ("PreTrainedTokenizerFast", "TokenizersBackend")
    return PreTrainedTokenizerFast if generic else AutoTokenizer
