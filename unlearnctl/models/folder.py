"""Inspects local model folders in Hugging Face format without loading a library, and shortens the hub's errors.

The files that transformers would load are found by its own rules, so that checks, checksums and exports see the same
weights that a run trains.
"""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

from unlearnctl.utils.errors import UserError, brief, nearest
from unlearnctl.utils.safe_json import loads

DISTRIBUTED = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")  # loaded before all others
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def check_folder(path: str, key: str = "model.path") -> None:
    """Refuse a local folder that does not exist or cannot be a safetensors model.

    Raises:
        UserError: what is wrong; suggests the most similar sibling if the folder does not exist.
    """
    folder = Path(path)
    if not folder.exists() and looks_local(path):
        siblings = [p.name for p in folder.parent.iterdir()] if folder.parent.is_dir() else []
        raise UserError(f"{key}={path}: no such folder{nearest(folder.name, siblings)}")
    packed = sorted(folder.glob("*.gguf"))
    if packed and not any(folder.glob("*.safetensors")):
        raise UserError(f"{key}={path}: its weights are a GGUF file; name the file, {key}={packed[0]}")
    if folder.is_file():
        raise UserError(f"{key}={path}: a file; give the Hugging Face folder that holds it")
    if not folder.is_dir():
        return
    if (folder / "adapter_config.json").is_file():
        raise UserError(f"{key}={path}: a PEFT adapter (adapter_config.json); merge it into a model first")
    if not (folder / "config.json").is_file():
        raise UserError(f"{key}={path}: no config.json there, so it is not a Hugging Face model folder")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{key}={path}: its config.json is not JSON ({brief(error)})") from error
    if not isinstance(config, dict):
        raise UserError(f"{key}={path}: its config.json is not a mapping of settings")
    if not any(folder.glob("*.safetensors")) and not (folder / INDEX).is_file():
        pickles = sorted(p.name for pattern in ("*.bin", "*.pt", "*.pth") for p in folder.glob(pattern))
        found = (
            f"only pickle weights ({pickles[0]}), which may run code when read" if pickles else "no weights"
        )
        raise UserError(f"{key}={path}: {found}; safetensors are required")
    if first := next((p.name for p in sorted(folder.iterdir()) if DISTRIBUTED.fullmatch(p.name)), None):
        raise UserError(f"{key}={path}: has {first}, a distributed checkpoint; save it as one model first")
    if not config.get("transformers_weights") and not any((folder / n).is_file() for n in (WEIGHTS, INDEX)):
        other = sorted(p.name for p in folder.glob("*.safetensors"))[0]
        raise UserError(f"{key}={path}: has {other}, but transformers loads only {WEIGHTS} or {INDEX}")


def looks_local(path: str) -> bool:
    """Return whether a path cannot be a hub id."""
    return path.startswith(("/", "./", "../", "~")) or path.count("/") != 1


def explain_hub_error(error: Exception) -> str:
    """Return why a hub repository could not be read, and what to do, from the library's long message."""
    text = str(error)
    if re.search(r"custom code|trust_remote_code", text):
        return "contains Python code that would run; read it, and if you trust it, add model.trust_remote_code=true"
    if re.search(r"gated|401|403|authenticated", text, re.IGNORECASE):
        return "gated or private repository: run `hf auth login` with access, or give a local folder"
    if re.search(r"offline|connect|resolve|reach|internet|cached|timed out", text, re.IGNORECASE):
        return (
            "no local folder of that name, and the hub cannot be reached; give a local folder, or go online"
        )
    if re.search(r"404|not a valid model identifier|not found", text, re.IGNORECASE):
        return "no such repository on the hub and no such local folder"
    return brief(error)


def shards(folder: Path) -> list[str]:
    """Return the names of the files that transformers would load from a local folder, in its order.

    The one that config.json names as `transformers_weights`, else model.safetensors, else those of the index; any
    other file in the folder is never read.

    Raises:
        ValueError: the index is malformed, or names anything but safetensors files in the folder itself.
        FileNotFoundError: there are no weights and no index.
    """
    name = entry(folder)
    if not name.endswith(".index.json"):
        return [name]
    return _indexed(json.loads((folder / name).read_text(encoding="utf-8")))


def entry(folder: Path) -> str:
    """Return the name of the single weights file or of the index from which transformers starts.

    Raises:
        ValueError: config.json names something else.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    named = config.get("transformers_weights") if isinstance(config, dict) else None
    if named is None:
        return next((name for name in (WEIGHTS, INDEX) if (folder / name).is_file()), WEIGHTS)
    return _in_folder(named, (".safetensors", ".safetensors.index.json"), "config.json")


def weight_index(folder: Path) -> dict[str, str]:
    """Map each tensor's name to the file that holds it, as transformers would find it.

    The files' own headers decide, as they do in transformers, not what the index says about single tensors.

    Raises:
        ValueError, FileNotFoundError: see `shards`.
        UserError: one of the files is not a safetensors file.
    """
    found: dict[str, str] = {}
    for shard in shards(folder):
        header, _ = read_header(folder / shard)
        found.update(dict.fromkeys((name for name in header if name != "__metadata__"), shard))
    return found


def read_header(shard: Path) -> tuple[dict[str, Any], int]:
    """Read the header of a safetensors file; return it, and the offset at which the data begin.

    Raises:
        UserError: it is not a safetensors file.
    """
    # The format: an 8-byte little-endian length, a JSON header of that length, the data.
    try:
        with shard.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            header = loads(file.read(min(size, shard.stat().st_size)).decode())
    except (ValueError, struct.error) as error:
        raise UserError(f"{shard}: not a safetensors file") from error
    if not isinstance(header, dict):
        raise UserError(f"{shard}: not a safetensors file")
    return header, 8 + size


def _indexed(index: Any) -> list[str]:
    named = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(named, dict):
        raise ValueError("its index has no weight_map")
    return sorted({_in_folder(shard, ".safetensors", "index") for shard in named.values()})


def _in_folder(name: Any, ending: str | tuple[str, ...], where: str) -> str:
    if not isinstance(name, str) or Path(name).name != name or not name.endswith(ending):
        raise ValueError(f"its {where} names {name}, which is not a safetensors file in the folder")
    return name
