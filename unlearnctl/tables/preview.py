"""Show what `unlearnctl reproduce TABLE` would run, and what it would take."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from unlearnctl.tables.missing import Place, compose_member, is_done
from unlearnctl.tables.spec import MADE, PATH, Member, TableSpec

RATE = 4e14  # FLOP/s that a plan assumes of one GPU


def show_plan(spec: TableSpec, place: Place) -> None:
    """Print the members, which are done, disk space and the time that is expected, from configs alone."""
    from rich.console import Console
    from rich.table import Table

    members = list(spec.members())
    console, table = Console(), Table(title=f"{spec.title}, scale {spec.scale}: {len(members)} runs")
    for name in ("run", "state", "checkpoint", "GPU-hours"):
        table.add_column(
            name, justify="right" if name in ("checkpoint", "GPU-hours") else "left", overflow="fold"
        )
    disk, hours, left = 0.0, 0.0, [m for m in members if not is_done(place.root, m)]
    for member in members:
        done = member not in left
        size, flop = _cost(spec, place, member)
        disk, hours = disk + size * (not done), hours + flop / RATE / 3600 * (not done)
        shown = f"{flop / RATE / 3600:.2f}" if spec.scale == "paper" and member.step.verb == "train" else "–"
        table.add_row(
            member.run, "done" if done else "to run", f"{size / 1e6:.1f} MB" if size else "–", shown
        )
    console.print(table)
    print(f"to run: {len(left)} of {len(members)}; disk {disk / 1e9:.2f} GB")
    if spec.seconds:
        print(_duration(spec, left))
    if spec.scale == "paper":
        print(
            f"estimated {hours:.2g} GPU-hours: 6 FLOP a parameter and training token of the loaded blocks, "
            f"2 a parameter and evaluated token ({spec.evaluated_tokens:.2g} a model, before and after), at "
            f"{RATE / 1e12:.0f} TFLOP/s; repairs and attacks not counted; nothing was measured"
        )


def _duration(spec: TableSpec, left: Sequence[Member]) -> str:
    """Say how long the runs that are left take on this machine's cores, from what such runs took elsewhere."""
    rows = sum(row.method for row in spec.rows)
    counts = ((len(spec.models), "model"), (rows, "row"), (len(spec.seeds), "seed"))
    shape = " × ".join(_count(number, what) for number, what in counts)
    first = f", and {_count(len(spec.made), 'model')} made first" if spec.made else ""
    work = sum(spec.seconds.get(m.step.name, spec.seconds.get(m.step.verb, 0.0)) for m in left)
    cores = len(os.sched_getaffinity(0))
    used = min(cores, max(len(left), 1))
    return f"{shape}{first}: about {work / used / 60:.0f} minutes on {used} of {cores} cores, a run on each"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _cost(spec: TableSpec, place: Place, member: Member) -> tuple[float, float]:
    """Estimate checkpoint bytes and floating-point operations of a train run; nothing for runs that work on one."""
    if member.step.verb != "train":
        return 0.0, 0.0
    from unlearnctl.unlearning.plan import make_plan
    from unlearnctl.unlearning.prepare import prepare

    # a model that is made first has the shape of what it is made from, and may not be there yet
    shape = tuple(each for each in member.overrides if not each.startswith(f"{PATH}{MADE}"))
    cfg = compose_member(place, replace(member, overrides=shape))
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
