"""The prefix cache on disk: one folder for each (model, data, order, dtype), complete or absent.

`CACHE/prefix/DIGEST/` holds `rows-NNNNN.safetensors`, read through memory maps, and `manifest.json` with the whole
key and each file's checksum. A folder that does not match to the last byte is deleted and computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnctl.utils.atomic import naming
from unlearnctl.utils.hashing import sha256

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "unlearnctl/prefix/1"
SHARD_BYTES = 1 << 30  # size of a file, and so about the most memory that writing a cache takes


class DiskRows(Mapping[str, "Tensor"]):
    """Rows of a complete cache folder, each read from disk when it is asked for."""

    def __init__(self, folder: Path, files: Iterable[str]) -> None:
        from safetensors import safe_open

        self._open = [safe_open(folder / name, framework="pt") for name in files]
        self._where = {key: file for file in self._open for key in file.keys()}  # noqa: SIM118  not a dict

    def __getitem__(self, key: str) -> Tensor:
        return self._where[key].get_tensor(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)


def digest(key: Mapping[str, Any]) -> str:
    """Return the name of the folder for a key."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


def open_rows(root: Path, key: Mapping[str, Any]) -> DiskRows | None:
    """Open the cache of exactly this key, after checking every byte; delete a damaged one, and return None."""
    folder = root / digest(key)
    if not folder.is_dir():
        return None
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        files = manifest["files"]
        # Compared as JSON, which has turned the tuples of the manifest's key into lists.
        same = manifest["format"] == FORMAT and manifest["key"] == json.loads(json.dumps(dict(key)))
        if same and all(sha256(folder / name) == files[name] for name in files):
            with suppress(OSError):  # the folder is another user's, or its disk is read-only
                os.utime(folder)  # `make_room` deletes the least recently used first
            return DiskRows(folder, files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    print(f"prefix cache {folder.name}: damaged or stale; computing it again")
    shutil.rmtree(folder, ignore_errors=True)
    return None


def write_rows(root: Path, key: Mapping[str, Any], rows: Iterable[Mapping[str, Tensor]]) -> DiskRows:
    """Write rows as they arrive, with at most one file of them in memory, then put the whole folder in place.

    Raises:
        OSError: the folder cannot be written; nothing is left behind.
    """
    # Each process writes its own draft: if two runs start together, the first rename wins.
    folder, partial = root / digest(key), root / f".{digest(key)}.{os.getpid()}.tmp"
    shutil.rmtree(partial, ignore_errors=True)
    with naming(folder):
        try:
            partial.mkdir(parents=True)
            files = {name: sha256(partial / name) for name in _write_shards(partial, rows)}
            manifest = {"format": FORMAT, "key": dict(key), "files": files}
            (partial / "manifest.json").write_text(json.dumps(manifest) + "\n", encoding="utf-8")
            try:
                partial.rename(folder)
            except OSError:  # another process may have been quicker: its folder holds the same rows
                if not folder.is_dir():
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return DiskRows(folder, files)


def _write_shards(folder: Path, rows: Iterable[Mapping[str, Tensor]]) -> Iterator[str]:
    from safetensors.torch import save_file

    held: dict[str, Tensor] = {}
    count = 0

    def flush() -> str:
        nonlocal count
        name = f"rows-{count:05d}.safetensors"
        save_file(held, folder / name)
        held.clear()
        count += 1
        return name

    for part in rows:
        held.update({name: value.contiguous() for name, value in part.items()})
        if sum(value.nbytes for value in held.values()) >= SHARD_BYTES:
            yield flush()
    if held:
        yield flush()


def make_room(root: Path, bytes_needed: int, bound: int) -> None:
    """Delete the least recently used caches until the new one fits under the bound."""
    # Hidden folders are left out, because other processes are writing them.
    folders = sorted((f for f in root.glob("[!.]*") if f.is_dir()), key=lambda f: f.stat().st_mtime)
    sizes = {folder: sum(file.stat().st_size for file in folder.glob("*")) for folder in folders}
    for folder in folders:
        if sum(sizes.values()) + bytes_needed <= bound:
            return
        shutil.rmtree(folder, ignore_errors=True)
        del sizes[folder]
