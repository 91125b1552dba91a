"""Describe the data in the plan of a dry run: what a run would see of each corpus, where that can be known here."""

from __future__ import annotations

from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from unlearnctl.config.instantiate import plain
from unlearnctl.data.spec import DataSpec
from unlearnctl.data.streams import SIDES, corpus_key, read_data
from unlearnctl.reporting.losses import loss
from unlearnctl.tinyworld.resolve import resolve
from unlearnctl.unlearning.shared_data import tokenised

if TYPE_CHECKING:
    from unlearnctl.unlearning.prepare import Prepared

MOST = 1 << 28  # bytes of data that a plan reads


def data_rows(cfg: DictConfig, ready: Prepared) -> list[tuple[str, str]]:
    """Return the label and the value of each corpus' line.

    Raises:
        UserError: data that is here, and that the run would refuse.
    """
    spec = DataSpec.from_config(plain(cfg.data))
    keys = [corpus_key(side, topic) for side in SIDES for topic in getattr(spec, side)]
    paths = [path for side in SIDES for one in getattr(spec, side).values() for path in one.paths]
    if why := next(filter(None, map(_not_here, paths)), ""):
        return [(key, f"not read for this plan ({why})") for key in keys]
    if not ready.spec.is_local:  # so is its tokenizer
        corpora = read_data(plain(cfg.data))
        texts = [len(corpora[side][topic].texts) for side in SIDES for topic in corpora[side]]
        return [(key, f"{count:,} texts") for key, count in zip(keys, texts, strict=True)]
    record = tokenised(cfg, ready, quiet=True)[1].record
    return [
        (key, "; ".join(filter(None, [f"{record[key]['rows']:,} rows", loss(record[key])]))) for key in keys
    ]


def _not_here(path: str) -> str:
    """Say why data is not read for a plan; empty if it is."""
    place = resolve(path)
    found = [Path(place)] if Path(place).exists() else [Path(p) for p in glob(place, recursive=True)]  # noqa: PTH207
    files = [file for each in found for file in ([each] if each.is_file() else each.rglob("*"))]
    if not files:
        return f"{path} is not on this machine"
    total = sum(file.stat().st_size for file in files if file.is_file())
    return f"{path} is large" if total > MOST else ""
