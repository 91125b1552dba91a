"""Tiny models that are not shipped: built in the cache when they are first needed."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
import sys
from pathlib import Path

from unlearnctl.files import open_ours
from unlearnctl.paths import cache_dir

_SOURCES = ("words.py", "world.py", "texts.py", "tokenizer.py", "architectures.py", "build.py")
NAMES = ("mistral", "qwen2", "olmo3")


def folder(arch: str) -> Path:
    """Where the model is, or will be; the name holds a hash of the sources that make it."""
    digest = hashlib.sha256()
    for name in _SOURCES:
        digest.update(Path(__file__).with_name(name).read_bytes())
    return cache_dir().resolve() / "tinyworld-models" / f"{arch}-{digest.hexdigest()[:12]}"


def provide(path: Path) -> None:
    """Build the model that belongs at `path`, if it is one of ours and not there: whole or not at all, once."""
    arch = path.name.partition("-")[0]
    if path.is_dir() or arch not in NAMES or path != folder(arch):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_ours(path.with_name(f".{path.name}.lock"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be at it
        if path.is_dir():
            return
        draft = path.with_name(f".{path.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed
        print(
            f"building the tiny model tinyworld:{arch}, once: three minutes on two quiet cores",
            file=sys.stderr,
        )
        from unlearnctl.data.tinyworld.build import build

        with contextlib.redirect_stdout(sys.stderr):
            build(draft, arch=arch)
        draft.rename(path)
