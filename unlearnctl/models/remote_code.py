"""Finds the Python files that come with a model and run under `model.trust_remote_code=true`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("config.json", "tokenizer_config.json")


def code_of(path: str, revision: str | None) -> str:
    """Describe in one line what will run: repository or folder, revision, files.

    Args:
        path: a local folder or a hub id.
        revision: revision of the hub repository; None means whatever its main branch holds now.
    """
    files = sorted(_named_in(path, revision))
    where = path if Path(path).is_dir() else f"{path} at revision {revision or 'main (not pinned)'}"
    if not files:
        return f"model.trust_remote_code=true: {where} names no Python files, so nothing of it runs"
    return f"model.trust_remote_code=true: runs Python files of {where}: {', '.join(files)}"


def local_code(folder: Path) -> list[str]:
    """Return the Python files of a local folder that run when it is loaded: those named, and what they import."""
    from transformers.dynamic_module_utils import get_relative_import_files

    found = [folder / file for file in _named_in(str(folder), None) if (folder / file).is_file()]
    reached: list[Path] = []
    for start in found:
        reached += [Path(file) for file in get_relative_import_files(start)]
    return sorted({file.name for file in (*found, *reached) if (folder / file.name).is_file()})


def _named_in(path: str, revision: str | None) -> set[str]:
    files: set[str] = set()
    for name in NAMES:
        files.update(_named(_read(path, name, revision)))
    return files


def _read(path: str, name: str, revision: str | None) -> dict[str, Any]:
    from huggingface_hub import hf_hub_download

    try:
        local = Path(path).is_dir()
        file = Path(path) / name if local else Path(hf_hub_download(path, name, revision=revision))
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _named(config: dict[str, Any]) -> Iterator[str]:
    """Yield the files that `auto_map` names, as `file.py` or `other/repository: file.py`."""
    for entry in (config.get("auto_map") or {}).values():
        for reference in entry if isinstance(entry, list) else [entry]:
            if not reference:  # a tokenizer's entry is [slow, fast], either of which may be null
                continue
            repository, _, name = str(reference).rpartition("--")
            file = f"{name.partition('.')[0]}.py"
            yield f"{repository}: {file}" if repository else file
