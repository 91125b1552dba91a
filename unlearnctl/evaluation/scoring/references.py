"""A second model that a metric compares with: loaded only when asked something new, its answers kept for good."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.evaluation.scoring.token_scores import TokenScores, encode_pairs, score_rows
from unlearnctl.results.provenance import versions
from unlearnctl.tinyworld.resolve import resolve
from unlearnctl.utils.errors import UserError, brief
from unlearnctl.utils.paths import cache_dir

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Reference:
    """A folder in Hugging Face's layout, e.g. of the model that never saw the forget set.

    Its tokenizer is its own. What it says is kept in the cache by text, for the folder's files as they are: a
    change of their size or date starts over.

    Args:
        path: the folder, or `tinyworld:…`.
        key: config key for messages, e.g. eval.tofu.reference.
    """

    path: str
    key: str

    @property
    def folder(self) -> Path:
        """The folder of the model."""
        return Path(resolve(self.path))

    def validate(self) -> None:
        """Check that the folder looks like a model.

        Raises:
            UserError: no config.json there, or no safetensors weights.
        """
        for name in ("config.json", "*.safetensors"):
            if not any(self.folder.glob(name)):
                raise UserError(f"{self.key}={self.path}: no model folder there ({name} is missing)")

    def scores(
        self,
        prompts: Sequence[str],
        texts: Sequence[str],
        max_length: int,
        batch_size: int,
        like: PreTrainedModel,
        special: bool = True,
        end: bool = False,
    ) -> list[TokenScores]:
        """Score each text's tokens after its prompt (see `encode_pairs`), in the dtype and on the device of `like`."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        def load() -> PreTrainedModel:
            try:
                model: Any = AutoModelForCausalLM.from_pretrained(
                    self.folder, dtype=like.dtype, use_safetensors=True, trust_remote_code=False
                )
            except (OSError, ValueError, RuntimeError) as error:
                raise UserError(f"{self.key}={self.path}: cannot be loaded ({brief(error)})") from error
            return model.to(like.device).eval()

        tokenizer = AutoTokenizer.from_pretrained(self.folder, trust_remote_code=False)
        rows = encode_pairs(tokenizer, prompts, texts, max_length, self.key, special, end)
        kept = Answers(cache_dir() / "reference-answers" / self._identity(str(like.dtype)))
        return score_rows(kept, load, rows, batch_size, self.key)

    def _identity(self, dtype: str) -> str:
        files = sorted(p for p in self.folder.iterdir() if p.suffix in (".safetensors", ".json"))
        stats = [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in files]
        whole = json.dumps([str(self.folder.resolve()), stats, dtype, versions()])
        return hashlib.sha256(whole.encode()).hexdigest()[:24]
