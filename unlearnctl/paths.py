"""Where things live: shipped config, cache."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).parent


def conf_dir() -> Path:
    """The shipped Hydra config folder: beside the package in a checkout, inside it in a wheel."""
    packaged = PACKAGE / "conf"
    return packaged if packaged.is_dir() else PACKAGE.parent / "conf"


def shown(path: Path) -> Path:
    """As a reader would type it: from the working directory where it lies below that."""
    try:
        return path.absolute().relative_to(Path.cwd())
    except ValueError:
        return path


def cache_dir() -> Path:
    """`$UNLEARNCTL_CACHE`, or `unlearnctl` under `$XDG_CACHE_HOME` (default `~/.cache`). Not created here."""
    if root := os.environ.get("UNLEARNCTL_CACHE"):
        return Path(root)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unlearnctl"


def resolve(path: str) -> str:
    """Turn `tinyworld:weights`, `tinyworld:twin`, `tinyworld:mistral`, … and `tinyworld:corpora/…` into real paths
    of the embedded world; others pass.

    The dataset files of the tiny world are written to the cache on first use; models that are not shipped are built
    by `provide`.
    """
    scheme, _, rest = path.partition(":")
    if scheme != "tinyworld":
        return path
    from unlearnctl.data import tinyworld

    if rest in ("weights", "twin"):
        return str(tinyworld.model_dir(rest))
    from unlearnctl.data.tinyworld import built

    if rest in built.NAMES:
        return str(built.folder(rest))
    return str(tinyworld.materialise() / rest)


def provide(path: str) -> None:
    """Build the model that belongs at `path` if that is a place of the cache for one of the tiny world's."""
    if "tinyworld-models" in Path(path).parts:
        from unlearnctl.data.tinyworld import built

        built.provide(Path(path))
