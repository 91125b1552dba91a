"""Checks what a model can read: how many positions, and token ids that have an embedding row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length")
# Kinds of rotary embeddings that are made for longer texts than the model was trained on.
STRETCHED = ("linear", "dynamic", "yarn", "longrope", "llama3")


def positions(config: PretrainedConfig) -> int | None:
    """Return how many tokens the model can read; None if nothing limits them (ALiBi, recurrence)."""
    text = config.get_text_config()
    if getattr(text, "alibi", False):
        return None
    counts = (getattr(text, name, None) for name in POSITIONS)
    found = next((n for n in counts if isinstance(n, int) and n > 0), None)
    if found is None:
        return None
    return max([found, *(_stretched(rope, found) for rope in _ropes(text))])


def _ropes(config: PretrainedConfig) -> Iterator[Mapping[str, Any]]:
    """Yield the settings of rotary embeddings: one set, or one for each type of layer."""
    rope = getattr(config, "rope_parameters", None) or {}
    if "rope_type" in rope:
        yield rope
    else:
        yield from (each for each in rope.values() if isinstance(each, Mapping))


def _stretched(rope: Mapping[str, Any], count: int) -> int:
    if rope.get("rope_type") not in STRETCHED:
        return count
    factor, original = rope.get("factor") or 1, rope.get("original_max_position_embeddings") or count
    return int(factor * original)


def check_length(key: str, length: int | None, config: PretrainedConfig) -> None:
    """Refuse a length that is more than the model can read.

    Raises:
        UserError: `key=length: this model reads N positions at most`.
    """
    most = positions(config)
    if length is not None and most is not None and length > most:
        raise UserError(f"{key}={length}: this model reads {most} positions at most")


def check_ids(tokenizer: PreTrainedTokenizerBase, rows: int, path: str) -> None:
    """Make a tokenizer refuse texts that hold a token for which the model has no embedding row.

    Some tokenizers know more tokens than the model has rows (Gemma 3 1B: one, for images), which does no harm unless a
    text holds one. The check sits in the tokenizer, so that data, suites and attacks are all covered.
    """
    if len(tokenizer) <= rows:
        return
    kind: Any = type(tokenizer)

    def _encode_plus(self: Any, *args: Any, **kwargs: Any) -> Any:
        encoded = kind._encode_plus(self, *args, **kwargs)
        ids = encoded["input_ids"]
        ids = ids.tolist() if hasattr(ids, "tolist") else ids
        for row in ids if len(ids) and isinstance(ids[0], list) else [ids]:
            if len(row) and (worst := int(max(row))) >= rows:
                raise UserError(
                    f"model.path={path}: a text has the token {self.convert_ids_to_tokens(worst)!r} (id {worst}), "
                    f"but the model's vocabulary has {rows}"
                )
        return encoded

    # A subclass rather than a wrapper: libraries check the type, and reach `_encode_plus` by several ways.
    tokenizer.__class__ = type(kind.__name__, (kind,), {"_encode_plus": _encode_plus})
