"""Fetches repositories of the hub into its cache, and keeps a manifest of what was fetched."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import huggingface_hub

from unlearnctl.utils.atomic import write_atomically
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.hashing import sha256
from unlearnctl.utils.safe_json import loads

MANIFEST = "unlearnctl-manifest.json"
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
WANTED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
UNWANTED = ["original/*", "onnx/*", "consolidated*"]  # the same weights in formats that are never read


@dataclass(frozen=True)
class Fetched:
    """One repository at one revision, as the cache holds it."""

    what: str
    kind: str  # model | dataset
    repo: str
    revision: str  # the commit
    files: list[dict[str, Any]]  # path, bytes, sha256
    new: int  # how many of the files were not in the cache before

    def line(self) -> str:
        """Describe it: `model: org/name@1a2b3c4d: 12 files, 16.1 GB, all there already`."""
        size = sum(file["bytes"] for file in self.files)
        there = "all there already" if not self.new else f"{self.new} fetched"
        return f"{self.what}: {self.repo}@{self.revision[:8]}: {len(self.files)} files, {size / 1e9:.2f} GB, {there}"


def hub_home() -> Path:
    """Return the folder of the hub's caches, `$HF_HOME`."""
    from huggingface_hub import constants

    return Path(constants.HF_HOME)


def fetch_model(what: str, repo: str, revision: str | None, code: bool = False) -> Fetched:
    """Fetch weights (safetensors only), config and tokenizer; with `code`, the repository's Python files too."""
    before = _cached(repo, "model")
    folder = huggingface_hub.snapshot_download(
        repo,
        revision=revision,
        allow_patterns=[*WANTED, *(["*.py"] if code else [])],
        ignore_patterns=UNWANTED,
    )
    return _listed(what, "model", repo, Path(str(folder)), before)


def datasets_read_by(read: Callable[[], object], what: str) -> list[Fetched]:
    """Call `read`, and return each hub dataset that it loaded, which is now in the cache."""
    import datasets

    load = datasets.load_dataset
    before: dict[tuple[str, str | None], set[str]] = {}  # repository, revision → files that were there

    def noted(path: str, *args: Any, **kwargs: Any) -> Any:
        # Neither the name of a format, such as "json", nor a folder.
        if "/" in path and not Path(path).exists():
            check_online(path)
            before.setdefault((path, kwargs.get("revision")), _cached(path, "dataset"))
        return load(path, *args, **kwargs)

    with mock.patch.object(datasets, "load_dataset", noted):
        read()
    return [_fetched_dataset(what, repo, revision, files) for (repo, revision), files in before.items()]


def _fetched_dataset(what: str, repo: str, revision: str | None, before: Collection[str]) -> Fetched:
    commit = huggingface_hub.HfApi().repo_info(repo, revision=revision, repo_type="dataset").sha
    folder = huggingface_hub.snapshot_download(
        repo, repo_type="dataset", revision=commit, local_files_only=True
    )
    return _listed(what, "dataset", repo, Path(str(folder)), before)


def check_online(repo: str) -> None:
    """Refuse to fetch while the hub is switched off.

    Raises:
        UserError: the hub is off; names the variable.
    """
    for name in OFFLINE:
        if os.environ.get(name, "").upper() in ("1", "TRUE", "YES", "ON"):
            raise UserError(
                f"{name}={os.environ[name]}: the hub is switched off, so {repo} cannot be fetched; unset it"
            )


def _listed(what: str, kind: str, repo: str, folder: Path, before: Collection[str]) -> Fetched:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    rows = [
        {"path": str(p.relative_to(folder)), "bytes": p.stat().st_size, "sha256": sha256(p)} for p in files
    ]
    new = sum(f"{folder.name}/{row['path']}" not in before for row in rows)
    return Fetched(what, kind, repo, folder.name, rows, new)


def _cached(repo: str, kind: str) -> set[str]:
    """Return `COMMIT/FILE` for everything that the cache holds of a repository."""
    from huggingface_hub import constants

    snapshots = Path(constants.HF_HUB_CACHE) / f"{kind}s--{repo.replace('/', '--')}" / "snapshots"
    return {str(path.relative_to(snapshots)) for path in snapshots.rglob("*") if path.is_file()}


def write_manifest(found: Sequence[Fetched], folder: Path) -> Path:
    """Add entries to the manifest in `folder`; a newer entry for the same revision replaces the old one."""
    path = folder / MANIFEST
    try:
        old = loads(path.read_text(encoding="utf-8"))["repositories"]
    except (OSError, ValueError, KeyError):
        old = []
    fresh = [{key: value for key, value in asdict(entry).items() if key != "new"} for entry in found]
    entries = {(e["kind"], e["repo"], e["revision"]): e for e in [*old, *fresh]}
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps({"repositories": list(entries.values())}, indent=1) + "\n")
    return path
