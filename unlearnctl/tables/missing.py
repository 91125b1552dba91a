"""Find out which runs of a table are done, and run the others."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnctl.results.schema import ENDED, read_results
from unlearnctl.runs.live import at_work
from unlearnctl.tables.folders import DATA, MODEL, fill
from unlearnctl.tables.spec import PATH, ROOT, Member
from unlearnctl.utils.atomic import open_ours
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

# runs a verb, given what composes its config, and the directory of the same run if it was interrupted
RunVerb = Callable[[str, "Callable[[], DictConfig]", Path | None], None]


@dataclass(frozen=True)
class Place:
    """Folders: of the runs, of the user's own configs, of the data that a table reads, and of a local model."""

    root: Path
    config_dir: Path | None = None
    data: Path | None = None
    model: Path | None = None

    @property
    def folders(self) -> dict[str, Path | None]:
        """Map the names of folders in settings to the folders."""
        return {ROOT: self.root, DATA: self.data, MODEL: self.model}


def directory_of(root: Path, member: Member) -> Path | None:
    """Find the directory of a member; another table may have named it."""
    return _named(root, member.step.verb, member.key)


def _named(root: Path, verb: str, key: str) -> Path | None:
    return next(iter(sorted(root.glob(f"{verb}/*/*-{key}"))), None)


def results_of(root: Path, member: Member) -> Mapping[str, Any] | None:
    """Read what a member measured, if it is done."""
    directory = directory_of(root, member)
    if directory is None or not (directory / "results.json").is_file():
        return None
    found = read_results(directory / "results.json")
    return found if found.get("status") in ENDED else None


def is_done(root: Path, member: Member) -> bool:
    """Tell whether a member has ended and, if others work on its model, that this is exported."""
    return results_of(root, member) is not None and (not member.step.made or _export(root, member).is_dir())


def _export(root: Path, member: Member) -> Path:
    return root / "models" / member.key


def chains(members: Iterable[Member]) -> list[list[Member]]:
    """Group members that must run in sequence: a train run, then what works on it."""
    found: dict[str, list[Member]] = {}
    for member in members:
        found.setdefault(member.base or member.key, []).append(member)
    return list(found.values())


def run_chain(place: Place, chain: Iterable[Member], run: RunVerb) -> list[str]:
    """Run the members of a chain that are not done; return a line for each that failed."""
    from unlearnctl.utils.explain import explain
    from unlearnctl.utils.quiet import quiet_libraries

    failed: list[str] = []
    for member in chain:
        if is_done(place.root, member):
            continue
        quiet_libraries()
        try:
            _run(place, member, run)
        except Exception as error:  # the other members can still be run
            failed.append(f"{member.run}: {explain(error)}")
    return failed


def _run(place: Place, member: Member, run: RunVerb) -> None:
    """Run the member's verb, which prints to a log of its own.

    Raises:
        KeyboardInterrupt: the run was interrupted, and has saved what it has.
    """
    log = place.root / "logs" / f"{member.run}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    cut = directory_of(place.root, member)
    if cut is not None and (who := at_work(cut)):
        raise UserError(f"{who} is at work in {cut}; the same command finds it when it has ended")
    with open_ours(log, "a", encoding="utf-8") as file, contextlib.redirect_stdout(file):
        if results_of(place.root, member) is None:
            run(member.step.verb, lambda: compose_member(place, member), cut)
        if results_of(place.root, member) is None:
            raise KeyboardInterrupt
        if not is_done(place.root, member):
            run("export", lambda: _compose_export(place, member), None)


def compose_member(place: Place, member: Member) -> DictConfig:
    """Compose the config of a run as the command line would.

    Raises:
        UserError: the run that it works on is not there.
    """
    overrides = [*member.settings, f"seed={member.seed}", f"output_dir={ROOT}", f"run={member.run}"]
    if not any(each.startswith(PATH) for each in overrides):
        overrides += _local(place)
    if member.base is None:
        overrides.append(f"model={member.model}")
    else:
        found = _named(place.root, "train", member.base)
        if found is None:
            raise UserError("the run that it works on is not there")
        overrides.append(f"run_dir={_below(place, found)}")
    return _compose(place, member.step.verb, overrides)


def _compose_export(place: Place, member: Member) -> DictConfig:
    run = directory_of(place.root, member)
    assert run is not None  # it has just ended
    to = _export(place.root, member)
    settings = [f"run={_below(place, run)}", f"to={_below(place, to)}", *_local(place)]
    return _compose(place, "export", settings)


def _below(place: Place, folder: Path) -> str:
    return f"{ROOT}/{folder.relative_to(place.root).as_posix()}"


def _local(place: Place) -> list[str]:
    return [f"{PATH}{MODEL}"] if place.model else []


def _compose(place: Place, verb: str, overrides: list[str]) -> DictConfig:
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf, open_dict

    from unlearnctl.config.composed import guarded
    from unlearnctl.utils.paths import conf_dir

    if place.config_dir is not None:
        overrides = [*overrides, f"hydra.searchpath=['file://{place.config_dir}']"]
    GlobalHydra.instance().clear()
    with guarded(), initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose(verb, overrides=overrides, return_hydra_config=True)
    # from this a verb knows which values were given beside a run, and which are defaults
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    return OmegaConf.create(fill(OmegaConf.to_container(cfg), place.folders), flags={"struct": True})
