"""Choose what the page of several runs shows of each run: curves, subjects, replies, token weights.

The parts are fitted into the remaining room: first the runs on the front, then the others in order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from unlearnctl.reporting import replies as texts
from unlearnctl.reporting import series
from unlearnctl.reporting.site.pack import Once, curve, fitting, points_each, short, size
from unlearnctl.reporting.summary import Member, Summary
from unlearnctl.results.run import Row, Run, with_history
from unlearnctl.utils import numbers

REPLIES = (1_000, 6, 2, 1)  # per suite and run: the largest number that fits is taken
LOOKED_AT = 20  # runs from which we estimate how many points a curve may have
ROWS = 2_000  # of the history of a run, enough for curves of a few points

Json = dict[str, Any]
Found = dict[int, Any]  # by the place of the run
Lines = dict[str, list[tuple[float, float]]]


def details(summary: Summary, left: int) -> Json:
    """Collect the parts of each run, what runs share, and how many runs are left out of each part."""
    said, tokens, heads = Once[str](), Once[Any](), Once[Any]()
    found: dict[str, Found] = {
        "samples": _each(summary, lambda member: texts.samples(member.run)),
        "weights": _each(summary, lambda member: texts.token_weights(member.run)),
        "subjects": _each(summary, lambda m: [(*key, row) for key, row in m.rows.items() if row.subject]),
    }
    kept = {
        "samples": _replies(found["samples"], said, left // 6),
        "weights": fitting(found["weights"], partial(_weights, tokens=tokens), tokens, left // 8),
        "subjects": fitting(found["subjects"], partial(_subjects, heads=heads), heads, left // 4),
    }
    beside = {"texts": said.all, "tokens": tokens.all, "heads": heads.all}
    left -= sum(map(size, (*kept.values(), *beside.values())))
    counts = {part: len(found[part]) - len(kept[part]) for part in kept}
    return {**kept, **beside, "left_out": counts, **_curves(summary.members, left)}


def _each(summary: Summary, read: Callable[[Member], Any]) -> Found:
    order = sorted(range(len(summary.members)), key=lambda place: place not in summary.front)
    parts = ((place, read(summary.members[place])) for place in order)
    return {place: part for place, part in parts if part}


def _replies(found: Found, said: Once[str], most: int) -> Found:
    """Take as many replies of each run as there is room for in all runs."""
    kept: Found = {}
    for limit in REPLIES:

        def pack(suites: Mapping[str, list[texts.Pair]], limit: int = limit) -> Json:
            return {name: [_pair(pair, said) for pair in pairs[:limit]] for name, pairs in suites.items()}

        said.forget(0)
        kept = fitting(found, pack, said, most)
        if len(kept) == len(found):
            break
    return kept


def _pair(pair: texts.Pair, said: Once[str]) -> list[Any]:
    """Return the prompt, both replies, their scores, and for each of the three whether to blur it."""
    sides = (pair.before, pair.after)
    replies = [None if side is None else said.place(side.text) for side in sides]
    scores = [None if side is None or side.score is None else short(side.score, 3) for side in sides]
    blurred = [pair.toxic, *(side is not None and side.toxic for side in sides)]
    return [said.place(pair.prompt), *replies, *scores, *map(int, blurred)]


def _weights(weighed: list[list[tuple[str, float, bool]]], tokens: Once[Any]) -> list[list[float]]:
    """Return for each text the place of its tokens, which are the same in all runs, and a weight for each."""
    found = []
    for text in weighed:
        place = tokens.place((tuple(token for token, _, _ in text), tuple(int(true) for _, _, true in text)))
        found.append([place, *(short(weight, 2) for _, weight, _ in text)])
    return found


def _subjects(rows: list[tuple[str, str, Row]], heads: Once[Any]) -> dict[str, Json]:
    """Return `suite/metric` → goal, chance, and in threes the place of (name, n, before ± half), after, half."""
    found: dict[str, Json] = {}
    for suite, metric, row in rows:
        whole = metric.partition("/")[0]
        group = found.setdefault(f"{suite}/{whole}", {"goal": row.goal, "chance": row.chance, "rows": []})
        (old, half), (new, other) = ((_short(s.value), _short(s.half)) for s in (row.before, row.after))
        group["rows"] += [heads.place((row.subject, row.n, old, half)), new, other]
    return found


def _short(number: float | None) -> float | None:
    found = numbers.finite(number)
    return None if found is None else short(found, 5)


def _curves(members: list[Member], most: int) -> Json:
    """Return each curve by run (name, steps, heights); names and steps are stored once."""
    names, grids = Once[str](), Once[tuple[float, ...]]()
    tried = members[:: -(-len(members) // LOOKED_AT) or 1]
    lengths = [len(line) for member in tried for line in lines(member.run).values()]
    limit = points_each(lengths, most * len(tried) // max(1, len(members)))
    found = []
    for member in members:
        own = lines(member.run).items()
        found.append([[names.place(name), *curve(series.thin(line, limit), grids)] for name, line in own])
    return {"curves": found, "lines": names.all, "grids": grids.all}


def lines(run: Run) -> Lines:
    """Return name → (step, value): losses, gradient norm, in-training evaluations, what a meta-learned run set."""
    run = with_history(run, ROWS)
    found = {f"loss: {line.name}": line.points for line in series.losses(run)}
    found |= {
        line.name.replace("grad_norm", "gradient norm"): line.points
        for key in ("grad_norm", "lr")
        for line in series.column(run, key)
    }
    found |= {f"evaluation: {row.metric}": run.trace(row.suite, row.metric) for row in run.rows if run.evals}
    found |= {f"meta: {line.name}": line.points for line in (*series.knobs(run), *series.outcomes(run))}
    return {name: line for name, line in found.items() if line}
