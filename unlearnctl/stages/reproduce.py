"""`unlearnctl reproduce TABLE`: plan → run what is missing → the table, in every format."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnctl.errors import UserError, unknown
from unlearnctl.paths import conf_dir
from unlearnctl.reporting.results_file import read_results as read_record
from unlearnctl.reporting.tables.build import build
from unlearnctl.reporting.tables.render import markdown, write_table
from unlearnctl.reporting.tables.spec import Member, TableSpec, read_table

if TYPE_CHECKING:
    from omegaconf import DictConfig

KEYS = ("scale", "seeds", "output_dir", "to", "from")
RATE = 4e14  # FLOP/s that a plan assumes of one GPU


@dataclass(frozen=True)
class Asked:
    """The command line, understood."""

    table: str
    scale: str = "tiny"
    seeds: tuple[int, ...] | None = None
    root: Path = Path("outputs/reproduce")
    to: Path | None = None
    plan: bool = False
    only_build: bool = False


def reproduce_command(args: list[str]) -> int | None:
    """`unlearnctl reproduce TABLE [scale=tiny|paper] [seeds=0,1] [output_dir=DIR] [to=DIR] [--plan] [--from DIR]`.

    Raises:
        UserError: no such table, scale or key; some of its runs failed (after all others have been made).
    """
    asked = parse(args)
    spec = read_table(conf_dir() / "table", asked.table, asked.scale, asked.seeds)
    root = asked.root / spec.scale
    if asked.plan:
        show_plan(spec, root)
        return None
    failed = [] if asked.only_build else run_missing(spec, root)
    table = build(spec, lambda member: results_of(root, member))
    if table.missing == len(list(spec.members())):
        raise UserError(f"reproduce {spec.name}: none of its runs is in {root}")
    paths = write_table(table, asked.to or root / "tables")
    print(markdown(table))
    for path in paths:
        print(path)
    if failed:
        raise UserError(
            f"{len(failed)} of the table's runs failed: {'; '.join(failed)}; the same command goes on"
        )
    return None


def parse(args: Sequence[str]) -> Asked:
    """Understand the command line.

    Raises:
        UserError: no table, a key or value that is not known.
    """
    words = [a for a in args if a != "--plan"]
    given: dict[str, Any] = {}
    if "--from" in words:
        at = words.index("--from")
        if at + 1 == len(words):
            raise UserError("--from: name the folder of the runs, as output_dir= was")
        given |= {"root": Path(words[at + 1]), "only_build": True}
        del words[at : at + 2]
    names = [word for word in words if "=" not in word]
    if len(names) != 1:
        known = sorted(p.stem for p in (conf_dir() / "table").glob("*.yaml"))
        raise UserError(f"reproduce: name one table of {', '.join(known)}")
    for key, value in (word.split("=", 1) for word in words if "=" in word):
        given |= _setting(key, value)
    return Asked(names[0], plan="--plan" in args, **given)


def _setting(key: str, value: str) -> dict[str, Any]:
    if key == "seeds":
        return {"seeds": _seeds(value)}
    if key == "from":
        return {"root": Path(value), "only_build": True}
    if key not in KEYS:
        raise unknown("reproduce", key, KEYS)
    return {"root" if key == "output_dir" else key: value if key == "scale" else Path(value)}


def _seeds(text: str) -> tuple[int, ...]:
    parts = text.strip("[]").split(",")
    if not all(part.strip().isdigit() for part in parts) or len(set(parts)) < len(parts):
        raise UserError(f"seeds={text}: must be different whole numbers, such as seeds=0,1,2")
    return tuple(int(part) for part in parts)


def directory_of(root: Path, member: Member) -> Path | None:
    """The member's run directory, if there is one."""
    return next(iter(sorted(root.glob(f"{member.step.verb}/*/{member.run}"))), None)


def results_of(root: Path, member: Member) -> Mapping[str, Any] | None:
    """What the member measured, if it is done."""
    directory = directory_of(root, member)
    if directory is None or not (directory / "results.json").is_file():
        return None
    found = read_record(directory / "results.json")
    return found if found.get("status") != "interrupted" else None


def run_missing(spec: TableSpec, root: Path) -> list[str]:
    """Run every member that is not done, in this process; returns a line for each that failed."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from unlearnctl.messages import explain
    from unlearnctl.quiet import quiet_environment, quiet_libraries

    quiet_environment()
    missing = [member for member in spec.members() if results_of(root, member) is None]
    failed: list[str] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), disable=not missing) as progress:
        task = progress.add_task(spec.name, total=len(missing))
        for member in missing:
            progress.update(task, description=member.run)
            quiet_libraries()
            try:
                _run(spec, root, member)
            except Exception as error:  # the others are worth having
                failed.append(f"{member.run}: {explain(error)}")
                progress.console.print(f"error: {failed[-1]}", highlight=False, markup=False)
            progress.advance(task)
    return failed


def _run(spec: TableSpec, root: Path, member: Member) -> None:
    """Compose the member's config and hand it to its stage, which prints to a log of its own.

    A training run that was cut goes on from its last checkpoint; of the others nothing can be used.
    """
    import shutil
    from importlib import import_module

    from unlearnctl.stages.resume import can_resume, resume

    log = root / "logs" / f"{member.run}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    cut = directory_of(root, member)
    with log.open("a", encoding="utf-8") as file, contextlib.redirect_stdout(file):
        if cut is not None and can_resume(cut):
            resume(cut)
            return
        if cut is not None:
            shutil.rmtree(cut)
        stage = getattr(import_module(f"unlearnctl.stages.{member.step.verb}"), member.step.verb)
        stage(compose_member(spec, root, member))


def compose_member(spec: TableSpec, root: Path, member: Member) -> DictConfig:
    """The config of a run, as the command line would compose it."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    overrides = [o for o in member.overrides if not o.startswith("of=")]
    base = next((o.removeprefix("of=") for o in member.overrides if o.startswith("of=")), None)
    if base is None:
        overrides.append(f"model={member.model}")
    else:
        found = next(iter(sorted(root.glob(f"train/*/{base}"))), None)
        if found is None:
            raise UserError(f"{base} is not there, so nothing can be done with it")
        overrides.append(f"run_dir={found}")
    overrides += [f"seed={member.seed}", f"output_dir={root}", f"run={member.run}"]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose(member.step.verb, overrides=overrides)


def show_plan(spec: TableSpec, root: Path) -> None:
    """Members, what is done, disk and, at paper scale, an estimate of GPU-hours; nothing is read but configs."""
    from rich.console import Console
    from rich.table import Table

    members = list(spec.members())
    console, table = Console(), Table(title=f"{spec.title}, scale {spec.scale}: {len(members)} runs")
    for name in ("run", "state", "checkpoint", "GPU-hours"):
        table.add_column(
            name, justify="right" if name in ("checkpoint", "GPU-hours") else "left", overflow="fold"
        )
    disk, hours, left = 0.0, 0.0, 0
    for member in members:
        done = results_of(root, member) is not None
        left += not done
        size, flop = _cost(spec, root, member)
        disk, hours = disk + size * (not done), hours + flop / RATE / 3600 * (not done)
        shown = f"{flop / RATE / 3600:.2f}" if spec.scale == "paper" and member.step.verb == "train" else "–"
        table.add_row(
            member.run, "done" if done else "to run", f"{size / 1e6:.1f} MB" if size else "–", shown
        )
    console.print(table)
    print(f"to run: {left} of {len(members)}; disk {disk / 1e9:.2f} GB")
    if spec.scale == "paper":
        print(
            f"estimated {hours:.1f} GPU-hours: 6 FLOP a parameter and training token of the loaded blocks, "
            f"2 a parameter and evaluated token ({spec.evaluated_tokens:.2g} a model, before and after), at "
            f"{RATE / 1e12:.0f} TFLOP/s; repairs and attacks not counted; nothing of it was measured"
        )


def _cost(spec: TableSpec, root: Path, member: Member) -> tuple[float, float]:
    """Bytes of the checkpoint and floating-point operations of a train run; nothing of what works on one."""
    if member.step.verb != "train":
        return 0.0, 0.0
    from unlearnctl.stages.plan import make_plan
    from unlearnctl.stages.prepare import prepare

    cfg = compose_member(spec, root, member)
    ready = prepare(cfg, offline=True)
    plan = make_plan(ready, tokens=cfg.data.max_length)
    tokens = (
        ready.settings.steps
        * ready.settings.global_batch
        * cfg.data.max_length
        * len(ready.objective.needs())
    )
    loaded = plan.total_parameters * plan.blocks_loaded / plan.blocks_total
    return plan.checkpoint, 6 * loaded * tokens + 2 * 2 * plan.total_parameters * spec.evaluated_tokens
