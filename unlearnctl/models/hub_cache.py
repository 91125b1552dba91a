"""With the hub switched off: is everything of a hub model in the cache, and if not, which file is missing?"""

from __future__ import annotations

import json
from pathlib import Path

from unlearnctl.utils.errors import UserError, prefetch_hint
from unlearnctl.utils.hub import ask_once

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model")


def check_cached(repo: str, revision: str | None) -> None:
    """Nothing while the hub can be asked.

    Raises:
        UserError: the hub is off and a file is not there; names it, and the command that fetches it.
    """
    from huggingface_hub import constants

    ask_once()
    if constants.HF_HUB_OFFLINE and (missing := missing_file(repo, revision)):
        raise UserError(
            f"model.path={repo}: {missing} is not in the hub's cache, and the hub is switched off{prefetch_hint()}"
        )


def missing_file(repo: str, revision: str | None) -> str | None:
    """The first file of config, tokenizer and weights that the cache has not."""
    if _at(repo, "config.json", revision) is None:
        return "config.json"
    if not any(_at(repo, name, revision) for name in TOKENIZERS):
        return "tokenizer.json"
    if _at(repo, "model.safetensors", revision):
        return None
    index = _at(repo, "model.safetensors.index.json", revision)
    if index is None:
        return "model.safetensors"
    shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    return next((shard for shard in shards if _at(repo, shard, revision) is None), None)


def cached_folder(repo: str, revision: str | None) -> Path | None:
    """Where the hub's cache holds a model, if it does; nothing is asked of the hub."""
    found = _at(repo, "config.json", revision)
    return found.parent if found else None


def _at(repo: str, name: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, name, revision=revision)
    return Path(found) if isinstance(found, str) else None
