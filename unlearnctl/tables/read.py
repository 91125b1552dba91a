"""conf/table/NAME.yaml read and checked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import yaml
from annotated_types import MinLen

from unlearnctl.tables.spec import Column, Published, Row, Scale, Step, TableFile, TableSpec
from unlearnctl.utils.errors import UserError, brief, unknown
from unlearnctl.utils.validate import check_value, read

VERBS = ("train", "repair", "attack")
DEFAULT = "tiny"  # scale
NAMES = ("DATA",)  # what a setting may name with a $, besides the models that are made first


def read_table(
    files: Mapping[str, Path],
    name: str,
    scale: str | None = None,
    seeds: Sequence[int] | None = None,
    models: Sequence[str] | None = None,
) -> TableSpec:
    """From the file of that name; `seeds` and `models` in place of its own.

    The scale, if it is not given, is tiny or, in a table without that, the first.

    Raises:
        UserError: no such table or scale, or a key that is missing or of the wrong kind.
    """
    if name not in files:
        raise unknown("table", name, files)
    key = f"table.{name}"
    data = read(TableFile, key, _load(files[name], key))
    if scale is None:
        scale = DEFAULT if DEFAULT in data.scales else str(next(iter(data.scales)))
    if scale not in data.scales:
        raise unknown("scale", scale, map(str, data.scales))
    at = read(Scale, f"{key}.scales.{scale}", _given(data.scales[scale]))
    made = tuple(Step(name, "train", tuple(overrides), made=True) for name, overrides in at.made.items())
    rows = _all_rows(key, data.rows, at.without, made)
    steps = [*VERBS, *(step.name for row in rows for step in row.steps), *(step.name for step in made)]
    _check_steps(f"{key}.common", at.common, steps)
    _check_steps(f"{key}.seconds", at.seconds, steps)
    _check_dollars(key, at, rows, made)
    asked = {"models": models, "seeds": seeds}
    command = [f"{what}={','.join(map(str, values))}" for what, values in asked.items() if values]
    return TableSpec(
        name=name,
        scale=scale,
        title=data.title,
        about=data.about,
        models=tuple(models or at.models),
        seeds=tuple(seeds or at.seeds),
        common={of: tuple(overrides or ()) for of, overrides in at.common.items()},
        columns=tuple(read(Column, f"{key}.columns", column) for column in at.columns),
        rows=rows,
        published=tuple(read(Published, f"{key}.published", known) for known in data.published),
        evaluated_tokens=float(at.evaluated_tokens),
        made=made,
        seconds=at.seconds,
        notes=(*data.notes, *at.notes),
        x=data.x,
        command=" ".join(["unlearnctl reproduce", name, f"scale={scale}", *command]),
    )


def _load(path: Path, key: str) -> object:
    """Read a YAML file, as far as it says anything.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return _given(yaml.safe_load(path.read_text(encoding="utf-8")))
    except RecursionError:
        raise UserError(f"{key}: nested too deeply") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{key}: cannot be read ({brief(error)})") from None


def _given(node: object) -> object:
    """Leave out the keys after which nothing stands."""
    return (
        {name: value for name, value in node.items() if value is not None} if isinstance(node, dict) else node
    )


def _check_steps(key: str, given: Mapping[str, Any], steps: Sequence[str]) -> None:
    for of in given:
        if of not in steps:
            raise unknown(key, of, dict.fromkeys(steps))


def _check_dollars(key: str, at: Scale, rows: Sequence[Row], made: Sequence[Step]) -> None:
    """Refuse `$NAME` in a setting unless it is $DATA or, in a row, a model that is made first."""
    first = [override for step in made for override in step.overrides]
    later = [o for overrides in at.common.values() for o in overrides or ()]
    later += [o for row in rows for step in row.steps if not step.made for o in step.overrides]
    names = [NAMES, (*NAMES, *(step.name for step in made))]
    for allowed, overrides in zip(names, (first, later), strict=True):
        for name in re.findall(r"\$(\w+)", " ".join(overrides)):
            if name not in allowed:
                raise unknown(key, f"${name}", [f"${each}" for each in allowed])


def _all_rows(
    key: str, named: Mapping[Any, Any], without: Sequence[str], made: Sequence[Step]
) -> tuple[Row, ...]:
    rows = []
    for name, given in named.items():
        if str(name) in without:
            continue
        at = f"{key}.rows.{name}"
        made_row = isinstance(given, Mapping) and "made" in given
        rows += [_made_row(at, str(name), given, made)] if made_row else _rows(at, str(name), given)
    return tuple(row for row in rows if row.name not in without)


def _made_row(key: str, name: str, given: Mapping[str, Any], made: Sequence[Step]) -> Row:
    """Show one of the models that are made first, as it was measured after its training."""
    steps = {step.name: step for step in made}
    if given["made"] not in steps:
        raise unknown(f"{key}.made", str(given["made"]), steps)
    if extra := [what for what in given if what != "made"]:
        raise UserError(f"{key}.{extra[0]}: a row with `made` has nothing else")
    return Row(name, (steps[given["made"]],))


def _rows(key: str, name: str, given: Any) -> list[Row]:
    """One row, or one for each value of `over`, which stands for `{x}` in its overrides."""
    if not isinstance(given, Mapping) or "over" not in given:
        return [_row(key, name, given)]
    rest = {what: value for what, value in given.items() if what != "over"}
    rows = []
    check_value(f"{key}.over", given["over"], Annotated[list[float], MinLen(1)])
    for x in given["over"]:
        row = _row(key, f"{name}, {x:g}", json.loads(json.dumps(rest, default=str).replace("{x}", f"{x:g}")))
        rows.append(replace(row, series=name, x=float(x)))
    return rows


def _row(key: str, name: str, given: Any) -> Row:
    given = given or {}
    if isinstance(given, list):  # shorthand for one training run
        given = {"train": given}
    check_value(key, given, Mapping[str, Any])
    steps: list[Step] = []
    for verb, value in given.items():
        if verb == "reading":
            continue
        if verb not in VERBS:
            raise unknown(key, verb, [*VERBS, "reading", "over", "made"])
        if verb == "repair" and not steps:
            raise UserError(f"{key}: the first run must be a train run, or an attack on the untouched model")
        named = value if isinstance(value, Mapping) else {verb: value}
        for step in map(str, named):
            overrides = named.get(step)
            check_value(f"{key}.{verb}", overrides, list[str] | None)
            of = steps[0].name if steps and verb != "train" else None
            steps.append(Step(step, verb, tuple(overrides or ()), of))
    return Row(name, tuple(steps), bool(given.get("reading", False)))
