"""Fetch what a training config needs, for machines without a network.

usage: unlearnctl prefetch [what train takes] [to=DIR]

Model (safetensors, config, tokenizer), data, task data and classifier of the config, or of every member of a sweep, go
into the hub's cache, or below DIR. A manifest lists repositories, commits, files, sizes and SHA-256.

examples:
  unlearnctl prefetch model=llama3_8b data=wmdp_bio eval=[wmdp,mmlu]
  unlearnctl prefetch model=zephyr_7b,mistral_7b data=wmdp_bio_cyber eval=[wmdp] to=/scratch/hub
  HF_HOME=/scratch/hub HF_HUB_OFFLINE=1 unlearnctl train model=zephyr_7b data=wmdp_bio_cyber eval=[wmdp]
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from unlearnctl.config.compose import composed
from unlearnctl.config.composed import guarded
from unlearnctl.config.trust import allow, read_trust
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from unlearnctl.utils.hub_download import Fetched

Fetch = Callable[[], "list[Fetched]"]  # returns what came from the hub; a local thing gives nothing


def prefetch(args: Sequence[str]) -> int:
    """Fetch what the config needs and write the manifest; return the exit code.

    Raises:
        UserError: a wrong config, or something could not be fetched.
    """
    place, folders, overrides = _parse(args)
    allow(read_trust(overrides))
    with guarded():
        configs = composed(overrides, folders)
    if place:
        os.environ["HF_HOME"] = str(Path(place).absolute())  # before the hub's libraries read it
    from unlearnctl.utils.hub_download import hub_home, write_manifest

    found, failed = _fetch_all(configs)
    if found:
        print(f"manifest: {write_manifest(found, hub_home())}")
    prefix = f"HF_HOME={hub_home()} " if place else ""
    offline = f"{prefix}HF_HUB_OFFLINE=1 unlearnctl train {' '.join(overrides)}"
    print(f"later, without a network: {offline}".rstrip())
    for line in failed:
        print(f"failed: {line}")
    if failed:
        raise UserError(f"{len(failed)} things could not be fetched, as reported above")
    return 0


def _parse(args: Sequence[str]) -> tuple[str, list[str], list[str]]:
    place, folders, overrides = "", [], []
    rest = iter(args)
    for arg in rest:
        if arg.startswith("to="):
            place = arg.removeprefix("to=")
        elif arg in ("--config-dir", "-cd"):
            folders.append(next(rest, ""))
        elif arg.startswith("--config-dir="):
            folders.append(arg.partition("=")[2])
        elif arg not in ("-m", "--multirun"):
            overrides.append(arg)
    if wrong := next((arg for arg in overrides if arg.startswith("-") or "=" not in arg.lstrip("~")), None):
        raise UserError(f"unlearnctl prefetch: {wrong}: takes what `unlearnctl train` takes, and to=DIR")
    return place, folders, overrides


def _fetch_all(configs: Sequence[DictConfig]) -> tuple[list[Fetched], list[str]]:
    """Fetch for all configs, each thing once; return what came from the hub, and a line for each failure."""
    from unlearnctl.utils.explain import explain

    found: list[Fetched] = []
    failed: list[str] = []
    done: set[str] = set()
    for cfg in configs:
        for name, fetch in _fetches(cfg):
            if name in done:
                continue
            done.add(name)
            try:
                found += fetch()
            except Exception as error:  # whatever the hub raises; the other things are still fetched
                failed.append(f"{name}: {explain(error)}")
    return found, failed


def _fetches(cfg: DictConfig) -> Iterator[tuple[str, Fetch]]:
    """List what there is to fetch: a name that is the same for the same thing, and how.

    Data and suites are read as a run reads them before its weights load, and what that asks the hub for is recorded:
    so no suite has to say twice where its data are.
    """
    from unlearnctl.config.instantiate import build_suites, plain
    from unlearnctl.data.streams import read_data
    from unlearnctl.evaluation.scoring.toxicity_scorers import BUILT_IN

    model, data = plain(cfg.model), plain(cfg.data)
    yield f"model {model['path']} {model['revision']}", partial(_model, "model", model)
    yield f"data {data}", partial(_datasets, "data", str(data["name"]), partial(read_data, data))
    for name, node in (plain(cfg.eval) if "eval" in cfg else {}).items():

        def validate(name: str = name, node: Any = node) -> None:
            build_suites(DictConfig({name: node}))[name].validate()

        yield f"eval {name} {node}", partial(_datasets, "eval", name, validate)
        scorer = node.get("scorer")
        if isinstance(scorer, str) and scorer not in BUILT_IN:
            wanted = {"path": scorer, "revision": node.get("scorer_revision")}
            yield f"classifier {wanted}", partial(_model, "classifier", wanted)


def _model(what: str, wanted: Mapping[str, Any]) -> list[Fetched]:
    from unlearnctl.models.folder import explain_hub_error
    from unlearnctl.tinyworld.resolve import resolve
    from unlearnctl.utils.hub_download import check_online, fetch_model

    path = str(wanted["path"])
    if path.startswith("tinyworld:") or Path(resolve(path)).exists():
        print(f"{what}: {path}: local")
        return []
    check_online(path)
    try:
        fetched = fetch_model(what, path, wanted["revision"], bool(wanted.get("trust_remote_code")))
    except (OSError, ValueError) as error:  # the hub's errors are OSErrors
        raise UserError(explain_hub_error(error)) from error
    print(fetched.line())
    return [fetched]


def _datasets(what: str, name: str, read: Callable[[], object]) -> list[Fetched]:
    """Read, and list each hub dataset that was asked for on the way."""
    from unlearnctl.utils.hub_download import datasets_read_by

    fetched = datasets_read_by(read, f"{what} {name}")
    if not fetched:
        print(f"{what}: {name}: local")
    for each in fetched:
        print(each.line())
    return fetched
