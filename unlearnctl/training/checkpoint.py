"""Write and read training checkpoints: numbered folders, there whole or not at all, checked before use.

    training/000004/tensors.safetensors   every tensor of the state
    training/000004/state.json            the rest of it, tensors by their names in that file
    training/000004/manifest.json         {format, about, files {name: sha256}, tensors {name: [dtype, shape]}, sha256}

A state is a tree of dictionaries, lists, tuples, tensors and plain values; nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from unlearnctl.utils.atomic import flush, follow_umask, naming
from unlearnctl.utils.hashing import sha256
from unlearnctl.utils.safe_json import loads

FORMAT = "unlearnctl/training/1"
TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"


class Damaged(Exception):
    """Says what is wrong with a checkpoint that is not what was written."""


def write(folder: Path, state: Mapping[str, Any], about: Mapping[str, Any], keep: int) -> Path:
    """Write the next checkpoint, then remove all but the last `keep`.

    `about` is plain JSON data: what has to agree before the state may be used.

    Raises:
        OSError: it could not be written, or the run directory is gone; the earlier ones are as they were.
    """
    with naming(folder):
        folder.mkdir(exist_ok=True)
        for left in folder.glob(".*.tmp"):  # of a process that was killed
            shutil.rmtree(left)
        # Numbered in sequence, not by step, because an interrupted run may write twice after the same step.
        number = 1 + max((int(path.name) for path in numbered(folder)), default=0)
        temporary, target = folder / f".{number:06d}.tmp", folder / f"{number:06d}"
        try:
            temporary.mkdir()
            _write_files(temporary, state, about)
            temporary.rename(target)  # atomic: a reader finds all of it or nothing
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        flush(folder)  # or a power cut could undo the rename, after the older ones have been removed
    for old in numbered(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def latest(folder: Path, say: Callable[[str], None]) -> tuple[dict[str, Any], dict[str, Any], Path] | None:
    """Return state, about and folder of the newest valid checkpoint; `say` gets a line for each that is damaged."""
    for path in reversed(numbered(folder)):
        try:
            return *read(path), path
        except Damaged as error:
            say(f"checkpoint {path}: {error}; the one before it is used")
    return None


def numbered(folder: Path) -> list[Path]:
    """List the checkpoints, oldest first, damaged ones included."""
    found = [path for path in folder.glob("[0-9]*") if path.name.isdecimal()]
    return sorted(found, key=lambda path: int(path.name))


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return state and about of one checkpoint.

    Raises:
        Damaged: a file is missing, cut short, changed, or does not hold what the manifest says.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        manifest = loads((path / MANIFEST).read_text(encoding="utf-8"))
        _check_manifest(manifest)
        # Checked before anything is parsed, because a parser may do anything with damaged bytes.
        for name, digest in manifest["files"].items():
            if sha256(path / name) != digest:
                raise Damaged(f"{name} is damaged or cut short")
        tensors = load_file(path / TENSORS)
        if _shapes(tensors) != manifest["tensors"]:
            raise Damaged(f"{TENSORS} does not hold the tensors that {MANIFEST} names")
        tree = loads((path / STATE).read_text(encoding="utf-8"))
        return decode(tree, tensors), manifest["about"]
    except FileNotFoundError as error:
        raise Damaged(f"{Path(str(error.filename)).name} is missing") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise Damaged(f"cannot be read ({type(error).__name__})") from error


def _check_manifest(manifest: dict[str, Any]) -> None:
    if manifest.get("format") != FORMAT:
        raise Damaged(f"{MANIFEST} is not of format {FORMAT}")
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    if manifest.get("sha256") != _digest(rest) or set(rest["files"]) != {TENSORS, STATE}:
        raise Damaged(f"{MANIFEST} is damaged")


def _write_files(folder: Path, state: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    tree = encode(state, tensors)
    save_file(_apart(tensors), folder / TENSORS)
    follow_umask(folder / TENSORS)
    (folder / STATE).write_text(json.dumps(tree), encoding="utf-8")
    files = {name: sha256(folder / name) for name in (TENSORS, STATE)}
    manifest = {"format": FORMAT, "about": dict(about), "files": files, "tensors": _shapes(tensors)}
    whole = {**manifest, "sha256": _digest(manifest)}
    (folder / MANIFEST).write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    for name in (TENSORS, STATE, MANIFEST):
        flush(folder / name)
    flush(folder)


def encode(node: Any, tensors: dict[str, Tensor], name: str = "") -> Any:
    """Turn a tree into JSON data; its tensors go to `tensors`, on the CPU, by their path in the tree."""
    if isinstance(node, np.generic):
        node = node.item()
    if node is None or isinstance(node, bool | int | float | str):
        return node
    if isinstance(node, Tensor):
        while name in tensors:  # a key with a slash in it can give two places the same path
            name += "'"
        tensors[name] = node.detach().cpu().contiguous()
        return {"tensor": name}
    if isinstance(node, Mapping):
        # As pairs: keys may be numbers (an optimiser's state has parameters by place), which JSON would make text.
        return {"dict": [[key, encode(value, tensors, f"{name}/{key}")] for key, value in node.items()]}
    if isinstance(node, list | tuple):
        items = [encode(value, tensors, f"{name}/{place}") for place, value in enumerate(node)]
        return items if isinstance(node, list) else {"tuple": items}
    raise TypeError(f"{name}: a {type(node).__name__} cannot be kept in a checkpoint")


def decode(node: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Turn the result of `encode` back into a tree."""
    if isinstance(node, list):
        return [decode(value, tensors) for value in node]
    if not isinstance(node, dict):
        return node
    ((kind, content),) = node.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: decode(value, tensors) for key, value in content}
    return tuple(decode(content, tensors))


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give each tensor memory of its own, as safetensors requires."""
    seen: set[int] = set()
    out = {}
    for name, value in tensors.items():
        memory = value.untyped_storage()
        out[name] = value.clone() if memory.data_ptr() in seen or memory.nbytes() > value.nbytes else value
        seen.add(memory.data_ptr())
    return out


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, list[Any]]:
    return {name: [str(value.dtype), list(value.shape)] for name, value in sorted(tensors.items())}


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
