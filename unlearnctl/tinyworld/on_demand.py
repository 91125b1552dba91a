"""Builds tiny models that are not shipped, in the cache, when they are first needed."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from pathlib import Path

from unlearnctl.utils.lock import made_once
from unlearnctl.utils.paths import cache_dir

_SOURCES = ("words.py", "facts.py", "texts.py", "tokenizer.py", "architectures.py", "build.py")
NAMES = ("mistral", "qwen2", "olmo3")


def folder(arch: str) -> Path:
    """Return where the model is or will be. The name holds a hash of the sources that make it, so edits rebuild it."""
    digest = hashlib.sha256()
    for name in _SOURCES:
        digest.update(Path(__file__).with_name(name).read_bytes())
    return cache_dir().resolve() / "tinyworld-models" / f"{arch}-{digest.hexdigest()[:12]}"


def provide(path: Path) -> None:
    """Build the model that belongs at `path`, if it is one of ours and does not exist."""
    arch = path.name.partition("-")[0]
    if arch not in NAMES or path != folder(arch):
        return
    made_once(
        path,
        lambda draft: _build(draft, arch),
        f"building the tiny model tinyworld:{arch}, once: three minutes on two idle cores",
    )


def _build(draft: Path, arch: str) -> None:
    from unlearnctl.tinyworld.build import build

    with contextlib.redirect_stdout(sys.stderr):
        build(draft, arch=arch)
