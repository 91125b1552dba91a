"""Resolves paths that begin with `tinyworld:`."""

from __future__ import annotations

from pathlib import Path

from unlearnctl.tinyworld import model_dir, on_demand
from unlearnctl.tinyworld.world_files import materialise


def resolve(path: str) -> str:
    """Turn `tinyworld:weights`, `tinyworld:twin`, `tinyworld:mistral`, `tinyworld:corpora/…` and so on into real paths.

    Other paths are returned as they are. Data files are written to the cache on first use; models that are not
    shipped are built later, by `provide`, since a plan or a check needs no weights.
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
    """Build the model that belongs at `path`, if that is the cache's place for a tiny model."""
    if "tinyworld-models" in Path(path).parts:
        on_demand.provide(Path(path))
