"""Local model folders in Hugging Face format, looked at without a library; and what the libraries say, in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from unlearnctl.errors import UserError, brief, nearest


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


def _shards(index: Any) -> dict[str, str]:
    named = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(named, dict):
        raise ValueError("its index has no weight_map")
    for shard in named.values():
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise ValueError(f"its index names {shard}, which is no safetensors file of the folder")
    return named
