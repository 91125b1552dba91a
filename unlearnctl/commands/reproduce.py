"""Make a table of the field: run what is missing, print it in every format.

usage: unlearnctl reproduce TABLE [scale=tiny|small|paper] [seeds=0,1,2] [jobs=N] [output_dir=DIR] [to=DIR]
                            [data=DIR] [model_path=DIR] [--plan] [--from DIR] [--config-dir DIR]

Runs that exist are not made again, so a command that was interrupted continues where it stopped. `jobs` runs at
once, by default one for each GPU or core. The table comes as Markdown, LaTeX, CSV, HTML and JSON; published values
stand beside ours where we know them.

scale=small is a real model of 135M parameters on two processor cores, with questions and texts from the folder data=
(docs/tables/README.md lists its files); model_path= is a local copy of the model.

`unlearnctl ls table` lists the tables.

examples:
  unlearnctl reproduce knowledge --plan                 what would be run, and what it takes
  unlearnctl reproduce knowledge
  unlearnctl reproduce sage seeds=0 to=docs/tables
  unlearnctl reproduce knowledge --from outputs/reproduce    the table alone, from the runs that exist
  unlearnctl reproduce knowledge scale=small data=DIR model_path=DIR
  unlearnctl reproduce knowledge scale=paper --plan
  unlearnctl reproduce mine --config-dir my-conf             my-conf/table/mine.yaml, and my-conf/objective/*.yaml
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnctl.tables.cells import build
from unlearnctl.tables.folders import check_folders
from unlearnctl.tables.jobs import run_missing
from unlearnctl.tables.missing import Place, results_of
from unlearnctl.tables.preview import show_plan
from unlearnctl.tables.read import read_table
from unlearnctl.tables.render import markdown, write_table
from unlearnctl.utils.errors import UserError, unknown, unknown_key
from unlearnctl.utils.paths import conf_dir

if TYPE_CHECKING:
    from omegaconf import DictConfig

KEYS = ("scale", "seeds", "models", "jobs", "output_dir", "to", "from", "data", "model_path")
FOLDERS = {"output_dir": "root", "data": "data", "model_path": "model", "to": "to"}


@dataclass(frozen=True)
class Asked:
    """What the command line asks for."""

    table: str
    scale: str | None = None
    seeds: tuple[int, ...] | None = None
    models: tuple[str, ...] | None = None
    root: Path = Path("outputs/reproduce")
    to: Path | None = None
    data: Path | None = None
    model: Path | None = None
    config_dir: Path | None = None
    jobs: int | None = None
    plan: bool = False
    only_build: bool = False

    @property
    def local(self) -> list[str]:
        """Say which folders were given, as a table may say it: without their names."""
        given = {"data": self.data, "model_path": self.model}
        return [f"{key}=DIR" for key, folder in given.items() if folder]


def reproduce(args: list[str]) -> int | None:
    """Run what is missing of a table, then print and write it.

    Raises:
        UserError: no such table, scale or key; some of its runs failed (after all others have been made).
    """
    asked = parse(args)
    spec = read_table(options("table", asked.config_dir), asked.table, asked.scale, asked.seeds, asked.models)
    spec = replace(spec, command=" ".join([spec.command, *asked.local]))
    for model in spec.models:
        if model not in options("model", asked.config_dir):
            raise unknown("models", model, options("model", asked.config_dir))
    members = list(spec.members())
    place = Place(asked.root / spec.scale, asked.config_dir, asked.data, asked.model)
    if not asked.only_build:
        check_folders(spec, asked.data, asked.model)
    if asked.plan:
        show_plan(spec, place)
        return None
    failed = [] if asked.only_build else run_missing(place, members, spec.name, run_verb, asked.jobs)
    table = build(spec, lambda member: results_of(place.root, member))
    if table.missing == len(members):
        raise UserError(f"reproduce {spec.name}: none of its runs is in {place.root}")
    paths = write_table(table, asked.to or place.root / "tables")
    print(markdown(table))
    for path in paths:
        print(path)
    if failed:
        raise UserError(
            f"{len(failed)} of the table's runs are not done: {'; '.join(failed)}; the same command continues"
        )
    return None


def run_verb(verb: str, compose: Callable[[], DictConfig], interrupted: Path | None) -> None:
    """Run one member of a table.

    An interrupted training run is resumed from its last checkpoint; the other verbs keep what they have measured.
    """
    from unlearnctl.runs.directory import unfinished
    from unlearnctl.unlearning.resume import can_resume, config_to_resume

    if interrupted is not None and can_resume(interrupted):
        if (cfg := config_to_resume(interrupted)) is not None:
            import_module("unlearnctl.commands.train").train(cfg, interrupted)
        return
    cfg = compose()
    module = import_module(f"unlearnctl.commands.{verb}")
    continues = interrupted is not None and verb != "train" and unfinished(interrupted, module.complete(cfg))
    if interrupted is not None and not continues:
        shutil.rmtree(interrupted)
    getattr(module, verb)(cfg)


def parse(args: Sequence[str]) -> Asked:
    """Parse the command line.

    Raises:
        UserError: no table, a key or value that is not known.
    """
    words = [a for a in args if a != "--plan"]
    given: dict[str, Any] = {}
    if source := _flag(words, "--from", "the folder of the runs, as output_dir= was"):
        given |= {"root": Path(source), "only_build": True}
    if folder := _flag(words, "--config-dir", "a folder with table/NAME.yaml in it"):
        given["config_dir"] = Path(folder).resolve()
    names = [word for word in words if "=" not in word]
    if len(names) != 1:
        raise UserError(
            f"reproduce: name one table of {', '.join(sorted(options('table', given.get('config_dir'))))}"
        )
    for key, value in (word.split("=", 1) for word in words if "=" in word):
        given |= _setting(key, value)
    return Asked(names[0], plan="--plan" in args, **given)


def _flag(words: list[str], flag: str, what: str) -> str | None:
    """Take a flag and its value out of `words`."""
    if flag not in words:
        return None
    at = words.index(flag)
    if at + 1 == len(words):
        raise UserError(f"{flag}: name {what}")
    value = words[at + 1]
    del words[at : at + 2]
    return value


def options(group: str, config_dir: Path | None = None) -> dict[str, Path]:
    """Find every `GROUP/NAME.yaml` by name; the user's own win over the shipped ones."""
    folders = [conf_dir(), *([config_dir] if config_dir else [])]
    return {path.stem: path for folder in folders for path in (folder / group).glob("*.yaml")}


def _setting(key: str, value: str) -> dict[str, Any]:
    if key == "seeds":
        return {"seeds": _seeds(value)}
    if key == "models":
        return {"models": tuple(part.strip() for part in value.strip("[]").split(","))}
    if key == "from":
        return {"root": Path(value), "only_build": True}
    if key == "jobs":
        if not value.isdigit() or not int(value):
            raise UserError(f"jobs={value}: must be a whole number of processes, 1 or more")
        return {"jobs": int(value)}
    if key not in KEYS:
        raise unknown_key("", key, KEYS)
    if key == "scale":
        return {"scale": value}
    path = Path(value)
    return {FOLDERS[key]: path.resolve() if key in ("data", "model_path") else path}


def _seeds(text: str) -> tuple[int, ...]:
    parts = text.strip("[]").split(",")
    if not all(part.strip().isdigit() for part in parts) or len(set(parts)) < len(parts):
        raise UserError(f"seeds={text}: must be different whole numbers, such as seeds=0,1,2")
    return tuple(int(part) for part in parts)
