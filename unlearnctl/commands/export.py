"""Merge a run's checkpoint into a whole Hugging Face folder.

usage: unlearnctl export RUN to=DIR

example:
  unlearnctl export outputs/train/NAME/RUN to=my-model
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from unlearnctl.config.checks import check_model, check_writable
from unlearnctl.config.instantiate import plain
from unlearnctl.config.targets import check_config
from unlearnctl.models.delta import read_manifest
from unlearnctl.models.export import export as merge
from unlearnctl.models.folder import check_folder, explain_hub_error, shards
from unlearnctl.models.skeleton import auto_class
from unlearnctl.models.spec import ModelSpec
from unlearnctl.reporting.card import done_with, model_card
from unlearnctl.reporting.lineage import NAME, lineage
from unlearnctl.results.schema import read_results as read_record
from unlearnctl.runs.directory import check_space
from unlearnctl.runs.inherit import model_of_run
from unlearnctl.runs.update import check_base
from unlearnctl.utils.errors import UserError

RUN_KEY = "run"


def export(cfg: DictConfig) -> Path:
    """Write `cfg.to` from the run directory `cfg.run`.

    Raises:
        UserError: not a run, a checkpoint that is damaged or of another base, a target that exists.
    """
    for key in ("run", "to"):
        if not cfg[key]:
            raise UserError(f"{key}={cfg[key]}: required; a folder, as in unlearnctl export RUN to=DIR")
    run, to = Path(str(cfg.run)), Path(str(cfg.to))
    if to.exists():
        raise UserError(f"to={to}: exists already; choose another folder")
    if above := next((folder for folder in to.parents if folder.is_file()), None):
        raise UserError(f"to={to}: {above} is a file")
    results = read_results(run)
    spec = _model(cfg, results, run)
    base = replace(spec, path=str(local_folder(spec)))
    check_base(spec, read_manifest(run / "checkpoint"), f"run={run}")
    check_writable(base)
    check_model(base)
    whole = sum((Path(base.path) / name).stat().st_size for name in shards(Path(base.path)))
    check_space(to, whole, f"to={to}", "the whole model needs")
    origin = lineage(results, done_with(results), Path(base.path))
    card = model_card(results, str(run), str(to), origin)
    files = merge(
        base, run / "checkpoint", to, {"README.md": card, NAME: json.dumps(origin, indent=2) + "\n"}
    )
    for line in files.notes():
        print(line)
    print(f"model: {to}")
    print(f'open it: {auto_class(spec.config).__name__}.from_pretrained("{to}")')
    print(f"score it: unlearnctl eval model=local model.path={to} model.dtype={spec.dtype}")
    return to


def _model(cfg: DictConfig, results: Mapping[str, Any], run: Path) -> ModelSpec:
    """Describe the base as the record names it, with what was typed of it. A record cannot allow code to run."""
    own = OmegaConf.create({"model": results["config"]["model"]})
    check_config(own, [run / "results.json"])
    return ModelSpec.from_config(plain(model_of_run(own.model, cfg, run, "run")))


def read_results(run: Path) -> dict[str, Any]:
    """Read `results.json` of a train run.

    Raises:
        UserError: it is missing or is not one.
    """
    if not (run / "results.json").is_file():
        raise UserError(f"run={run}: no finished run there (results.json is missing)")
    try:
        results = read_record(run / "results.json")
        results["config"]["model"]["path"]
    except UserError as error:
        raise UserError(f"run={run}: results.json is damaged ({error})") from None
    except (KeyError, TypeError):
        raise UserError(f"run={run}: results.json is damaged (it names no model)") from None
    return results


def local_folder(spec: ModelSpec) -> Path:
    """Return the base model's folder, fetched from the hub or its cache if necessary."""
    check_folder(spec.path)
    if spec.is_local:
        return Path(spec.path)
    from huggingface_hub import snapshot_download

    patterns = [
        "*.json",
        "*.safetensors",
        "*.model",
        "*.txt",
        "*.jinja",
        "*.tiktoken",
        "LICEN*",
        "NOTICE*",
        "USE_POLICY*",
    ]
    patterns += ["*.py"] if spec.trust_remote_code else []
    try:
        return Path(snapshot_download(spec.path, revision=spec.revision, allow_patterns=patterns))
    except (OSError, ValueError) as error:  # the hub's errors are OSErrors
        raise UserError(f"model.path={spec.path}: {explain_hub_error(error)}") from error
