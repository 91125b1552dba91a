"""Write what stands below a table: errors, signs, sources, where its numbers come from."""

from __future__ import annotations

from unlearnctl.tables.cells import Table


def notes(table: Table) -> list[str]:
    """List what stands below the table: errors, signs, sources, where the numbers come from."""
    spec = table.spec
    several = len(spec.seeds) > 1
    said = [
        f"Mean over {len(spec.seeds)} seeds ± half of the 95 % interval (Student's t over seeds)."
        if several
        else "One seed; ± half of the 95 % interval over items.",
        *_items(table),
        "Bold: best, if a paired t-test over seeds tells it from the second best (p < .05, for each column and model"
        " by itself, not corrected for their number).",
    ]
    if several and any(not line.row.method for line in table.lines):
        said.append("The untouched model is measured once: ± half of the 95 % interval over items.")
    if spec.made:
        names = " and ".join(step.name for step in spec.made)
        said.append(f"All seeds start from the same models, made once with seed 0: {names}.")
    if any(line.row.reading for line in table.lines):
        said.append(
            "† our reading of a paper whose equations we do not have; no number here is that paper's."
        )
    sources = sorted({c.source for line in table.lines for c in line.cells if c.source})
    if sources:
        said.append(f"[ ] published: {'; '.join(sources)}.")
    allowed = sorted({c.tolerance for line in table.lines for c in line.cells if c.tolerance is not None})
    if allowed:
        said.append(f"≈ within {' or '.join(map(str, allowed))} of the published value, ≠ not.")
    if table.missing:
        said.append(f"{table.missing} runs of this table are not there yet; their cells are empty.")
    return [
        *said,
        *spec.notes,
        *table.provenance,
        f"command: {spec.command}",
    ]


def _items(table: Table) -> list[str]:
    """Say how many items are behind each value, by column."""
    told = []
    for place, column in enumerate(table.spec.columns):
        found = {n for line in table.lines if (n := line.cells[place].n) is not None}
        if found:
            told.append(f"{column.title} {' or '.join(map(str, sorted(found)))}")
    return [f"Items behind each value (n): {', '.join(told)}."] if told else []
