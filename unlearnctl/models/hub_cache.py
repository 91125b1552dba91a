"""Checks, when the hub is switched off, that the cache holds all files of a hub model, and names what is missing."""

from __future__ import annotations

import json
from pathlib import Path

from unlearnctl.utils.errors import UserError, prefetch_hint
from unlearnctl.utils.hub import ask_once

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model")


def check_cached(repo: str, revision: str | None) -> None:
    """Refuse a hub model that is not in the cache; do nothing while the hub can be reached.

    Raises:
        UserError: the hub is off and a file is missing; names it, and the command that fetches it.
    """
    from huggingface_hub import constants

    ask_once()
    if constants.HF_HUB_OFFLINE and (missing := missing_file(repo, revision)):
        raise UserError(
            f"model.path={repo}: {missing} is not in the hub's cache, and the hub is switched off{prefetch_hint()}"
        )


def missing_file(repo: str, revision: str | None) -> str | None:
    """Return the first file of config, tokenizer and weights that the cache lacks."""
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
    """Return the folder in which the hub's cache holds a model, if it does, without asking the hub."""
    found = _at(repo, "config.json", revision)
    return found.parent if found else None


def _at(repo: str, name: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, name, revision=revision)
    return Path(found) if isinstance(found, str) else None
