"""Show what `unlearnctl reproduce TABLE` would run, and what it would take."""

from __future__ import annotations

from unlearnctl.tables.missing import Place, compose_member, results_of
from unlearnctl.tables.spec import Member, TableSpec

RATE = 4e14  # FLOP/s that a plan assumes of one GPU


def show_plan(spec: TableSpec, place: Place) -> None:
    """Print the members, which are done, disk space and, at paper scale, estimated GPU-hours, from configs alone."""
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
        done = results_of(place.root, member) is not None
        left += not done
        size, flop = _cost(spec, place, member)
        disk, hours = disk + size * (not done), hours + flop / RATE / 3600 * (not done)
        shown = f"{flop / RATE / 3600:.2f}" if spec.scale == "paper" and member.step.verb == "train" else "–"
        table.add_row(
            member.run, "done" if done else "to run", f"{size / 1e6:.1f} MB" if size else "–", shown
        )
    console.print(table)
    print(f"to run: {left} of {len(members)}; disk {disk / 1e9:.2f} GB")
    if spec.scale == "paper":
        print(
            f"estimated {hours:.2g} GPU-hours: 6 FLOP a parameter and training token of the loaded blocks, "
            f"2 a parameter and evaluated token ({spec.evaluated_tokens:.2g} a model, before and after), at "
            f"{RATE / 1e12:.0f} TFLOP/s; repairs and attacks not counted; nothing was measured"
        )


def _cost(spec: TableSpec, place: Place, member: Member) -> tuple[float, float]:
    """Estimate checkpoint bytes and floating-point operations of a train run; nothing for runs that work on one."""
    if member.step.verb != "train":
        return 0.0, 0.0
    from unlearnctl.unlearning.plan import make_plan
    from unlearnctl.unlearning.prepare import prepare

    cfg = compose_member(place, member)
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
