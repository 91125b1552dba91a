"""Paths that begin with `tinyworld:`, and the files that they stand for."""

from __future__ import annotations

from pathlib import Path

from unlearnctl.tinyworld import model_dir, on_demand
from unlearnctl.tinyworld.world_files import materialise


def resolve(path: str) -> str:
    """Turn `tinyworld:weights`, `tinyworld:twin`, `tinyworld:mistral`, … and `tinyworld:corpora/…` into real paths
    of the embedded world; others pass.

    The dataset files of the tiny world are written to the cache on first use; models that are not shipped are built
    by `provide`.
    """
    scheme, _, rest = path.partition(":")
    if scheme != "tinyworld":
        return path
    if rest in ("weights", "twin"):
        return str(model_dir(rest))
    if rest in on_demand.NAMES:
        return str(on_demand.folder(rest))
    return str(materialise() / rest)


def provide(path: str) -> None:
    """Build the model that belongs at `path` if that is a place of the cache for one of the tiny world's."""
    if "tinyworld-models" in Path(path).parts:
        on_demand.provide(Path(path))
