"""`unlearnctl prefetch`: everything that a training config reads from the hub, fetched where there is a network.

Data and tasks are read just as a run reads them before its weights load, and what that asks the hub for is written
down; so no suite has to say twice where its data are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from unlearnctl.config.composed import guarded
from unlearnctl.config.trust import allow, read_trust
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.paths import conf_dir

NOT_LOCAL = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")


def prefetch_command(args: Sequence[str]) -> int:
    """`unlearnctl prefetch [what train takes] [to=DIR]`; returns the exit code.

    Raises:
        UserError: a wrong config, or something could not be fetched.
    """
    place, folders, overrides = _parse(args)
    allow(read_trust(overrides))
    with guarded():
        configs = composed(overrides, folders)
    if place:
        os.environ["HF_HOME"] = str(Path(place).absolute())  # before the hub's libraries read it
    from unlearnctl.commands.prefetch_hub import Fetched, hub_home, write_manifest

    found: list[Fetched] = []
    failed = prefetch(configs, found)
    if found:
        print(f"manifest: {write_manifest(found, hub_home())}")
    prefix = f"HF_HOME={hub_home()} " if place else ""
    print(
        f"later, without a network: {prefix}HF_HUB_OFFLINE=1 unlearnctl train {' '.join(overrides)}".rstrip()
    )
    for error in failed:
        print(f"failed: {error}")
    if failed:
        raise UserError(f"{len(failed)} things could not be fetched, as said above")
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


def composed(overrides: Sequence[str], folders: Sequence[str] = ()) -> list[DictConfig]:
    """The config of `unlearnctl train OVERRIDES`, or one for each member of a sweep, `sweep=NAME` included."""
    extra = (
        [f"hydra.searchpath=[{','.join(f'file://{Path(f).resolve()}' for f in folders)}]"] if folders else []
    )
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        fixed = [
            each
            for each in overrides
            if not OverridesParser.create().parse_override(each).is_sweep_override()
        ]
        params = compose("train", [*extra, *fixed], return_hydra_config=True).hydra.sweeper.params or {}
        parsed = OverridesParser.create().parse_overrides(
            [*(f"{k}={v}" for k, v in params.items()), *overrides]
        )
        return [compose("train", [*extra, *each]) for each in BasicSweeper.split_arguments(parsed, None)[0]]


def prefetch(configs: Sequence[DictConfig], found: list[Any]) -> list[str]:
    """Fetch for all configs, each thing once; `found` gets what came from the hub. Returns what went wrong."""
    from unlearnctl.utils.explain import explain

    failed: list[str] = []
    done: set[str] = set()
    for cfg in configs:
        for name, work in _works(cfg):
            if name in done:
                continue
            done.add(name)
            try:
                work(found)
            except Exception as error:  # the hub's own errors are many; the other things are still fetched
                failed.append(f"{name}: {explain(error)}")
    return failed


def _works(cfg: DictConfig) -> Iterator[tuple[str, Callable[[list[Any]], None]]]:
    """What there is to fetch: a name that is the same for the same thing, and how."""
    from unlearnctl.config.instantiate import build_suites, plain
    from unlearnctl.data.streams import read_data

    model, data = plain(cfg.model), plain(cfg.data)
    yield f"model {model['path']} {model['revision']}", lambda found: _model("model", model, found)
    yield f"data {data}", lambda found: _recorded("data", str(data["name"]), lambda: read_data(data), found)
    suites = plain(cfg.eval) if "eval" in cfg else {}
    for name, node in suites.items():
        one = DictConfig({name: node})
        yield (
            f"eval {name} {node}",
            lambda found, name=name, one=one: _recorded(  # type: ignore[misc]
                "eval", name, lambda: build_suites(one)[name].validate(), found
            ),
        )
        if scorer := node.get("scorer"):
            wanted = {"path": scorer, "revision": node.get("scorer_revision")}
            yield f"classifier {wanted}", lambda found, wanted=wanted: _model("classifier", wanted, found)  # type: ignore[misc]


def _model(what: str, wanted: Mapping[str, Any], found: list[Any]) -> None:
    from unlearnctl.commands.prefetch_hub import fetch_model
    from unlearnctl.models.folder import explain
    from unlearnctl.tinyworld.resolve import resolve

    path = str(wanted["path"])
    if path.startswith("tinyworld:") or Path(resolve(path)).exists():
        print(f"{what}: {path}: local")
        return
    _online(path)
    try:
        found.append(fetch_model(what, path, wanted["revision"], bool(wanted.get("trust_remote_code"))))
    except (OSError, ValueError) as error:  # the hub's errors are OSErrors
        raise UserError(explain(error)) from error
    print(found[-1].line())


def _recorded(what: str, name: str, read: Callable[[], object], found: list[Any]) -> None:
    """Read, and note each hub dataset that was asked for on the way."""
    from unlearnctl.commands.prefetch_hub import dataset_files, fetch_dataset

    asked: list[tuple[str, str | None]] = []
    held: dict[tuple[str, str | None], set[str]] = {}
    with recording(asked, lambda repo, revision: held.setdefault((repo, revision), dataset_files(repo))):
        read()
    if not asked:
        print(f"{what}: {name}: local")
    for repo, revision in dict.fromkeys(asked):
        found.append(fetch_dataset(f"{what} {name}", repo, revision, held[repo, revision]))
        print(found[-1].line())


@contextmanager
def recording(
    asked: list[tuple[str, str | None]], before: Callable[[str, str | None], object]
) -> Iterator[None]:
    """Note (repository, revision) of each call of `datasets.load_dataset` that names no local folder or format."""
    import datasets

    load = datasets.load_dataset

    def noted(path: str, *args: Any, **kwargs: Any) -> Any:
        if "/" in path and not Path(path).exists():
            _online(path)
            asked.append((path, kwargs.get("revision")))
            before(*asked[-1])
        return load(path, *args, **kwargs)

    with mock.patch.object(datasets, "load_dataset", noted):
        yield


def _online(repo: str) -> None:
    for name in NOT_LOCAL:
        if os.environ.get(name, "").upper() in ("1", "TRUE", "YES", "ON"):
            raise UserError(
                f"{name}={os.environ[name]}: the hub is switched off, so {repo} cannot be fetched; unset it"
            )
