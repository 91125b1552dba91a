"""Tokenise a run's data, once for all members of a sweep that share a process and the data."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from unlearnctl.config.instantiate import plain
from unlearnctl.data.streams import ForgetRetain, load_data, read_data
from unlearnctl.reporting.losses import losses
from unlearnctl.runs.directory import run_directory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from unlearnctl.unlearning.prepare import Prepared

_last: dict[str, ForgetRetain] = {}  # at most one: sweeps over data are rare, and texts may be large


def tokenised(
    cfg: DictConfig, ready: Prepared, quiet: bool = False
) -> tuple[PreTrainedTokenizerBase, ForgetRetain]:
    """Return the tokenizer and the data of a run; unless `quiet`, say what of the data it will not see.

    Raises:
        UserError: see `read_data`, `ModelSpec.tokenizer` and `load_data`.
    """
    wanted, needs = plain(cfg.data), ready.objective.needs()
    key = _key(cfg, ready) if _in_sweep() else ""
    if key and key in _last:
        # The seed decides the order in which rows are drawn, not what they are, so members may differ in it.
        return ready.spec.tokenizer(), replace(_last[key], seed=cfg.seed)
    corpora = read_data(wanted)
    tokenizer = ready.spec.tokenizer()
    data = load_data(wanted, tokenizer, cfg.seed, corpora, needs)
    for line in losses({"data": data.record}) if not quiet else []:
        print(line)
    _last.clear()
    if key:
        _last[key] = data
    return tokenizer, data


def _key(cfg: DictConfig, ready: Prepared) -> str:
    sweep = str(run_directory(cfg, "train").parent.absolute())  # files may change between two sweeps
    model = [ready.spec.path, ready.spec.revision]
    return json.dumps([sweep, plain(cfg.data), model, sorted(ready.objective.needs())], default=str)


def _in_sweep() -> bool:
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
