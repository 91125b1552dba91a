"""results.json read and checked: afterwards every part that a report touches has the shape that it expects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from unlearnctl.utils import numbers
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.safe_json import load_record

ENDED = ("completed", "stopped_early")  # how a run ends that has nothing left to do

SCHEMA = "unlearnctl/results/1"
LARGEST = 64_000_000  # bytes
NUMBERS = ("value", "stderr", "n", "chance")
TEXTS = ("role", "goal")
SUITES = "{suite: {metric: {value, stderr, n, chance}}}"
Problems = Iterator[str]


def read_results(path: Path) -> dict[str, Any]:
    """A results.json of any verb.

    Raises:
        UserError: it is missing, cannot be read, or is not of this schema and shape.
    """
    if not path.is_file():
        raise UserError(
            f"{path.parent}: no results.json, so nothing to report. Give the directory of a finished run"
        )
    if (size := path.stat().st_size) > LARGEST:
        raise UserError(
            f"{path}: {size / 1e6:.0f} MB, more than a run writes (at most {LARGEST / 1e6:.0f} MB)"
        )
    try:
        results = load_record(path)
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: not readable as JSON ({' '.join(str(error).split())})") from None
    schema = results.get("schema") if isinstance(results, dict) else None
    if schema != SCHEMA:
        raise UserError(f"{path}: schema={numbers.cut(repr(schema))}. Allowed: {SCHEMA}")
    if problem := next(_problems(results), ""):
        raise UserError(f"{path}: {problem}")
    return results


def _problems(results: Mapping[str, Any]) -> Problems:
    for section in ("config", "provenance", "train", "paired", "repair"):
        if not isinstance(results.get(section) or {}, dict):
            yield f"{section} is not a mapping"
    for section in ("before", "after", "unlearned"):
        yield from _suites(section, results.get(section) or {})
    for suite in (results.get("paired") or {}).values():
        if not isinstance(suite, dict) or not all(isinstance(test, dict) for test in suite.values()):
            yield "paired is not {suite: {metric: {test, p}}}"
    yield from _each("attacks", results.get("attacks") or [], _attack)
    data = results.get("data") or {}
    if not isinstance(data, dict) or not all(map(_is_count_of_rows, data.values())):
        yield "data is not {corpus: {read, left_out, texts, cut, split, rows, max_length}}"
    if results.get("repair"):
        yield from _repair(results["repair"])


def _suites(key: str, suites: Any) -> Problems:
    tables = list(suites.values()) if isinstance(suites, dict) else [suites]
    if not all(isinstance(t, dict) and all(isinstance(e, dict) for e in t.values()) for t in tables):
        yield f"{key} is not {SUITES}"
        return
    for suite, metrics in suites.items():
        for name, entry in metrics.items():
            for wrong in _entry(entry):
                yield f"{key}.{numbers.cut(suite)}.{numbers.cut(name)}.{wrong}"


def _entry(entry: Mapping[str, Any]) -> Problems:
    for key in NUMBERS:
        if not _is_number(entry.get(key)):
            yield f"{key} is not a number or null"
    if (numbers.finite(entry.get("stderr")) or 0) < 0:
        yield "stderr is below 0"
    for key in TEXTS:
        if not isinstance(entry.get(key, ""), str | None):
            yield f"{key} is not a text"
    interval = entry.get("interval") or [None, None]
    if not isinstance(interval, list) or len(interval) != 2 or not all(map(_is_number, interval)):
        yield "interval is not null or two numbers"
    elif None not in (ends := [numbers.finite(end) for end in interval]) and ends[0] > ends[1]:  # type: ignore[operator]
        yield "interval has its upper end first"


def _attack(key: str, attack: Mapping[str, Any]) -> Problems:
    for name in ("attack", "variant"):
        if not isinstance(attack.get(name), str):
            yield f"{key}.{name} is not a text"
    if not isinstance(attack.get("scores"), dict):
        yield f"{key}.scores is not {SUITES}"
    for name in ("scores", "base"):
        yield from _suites(f"{key}.{name}", attack.get(name) or {})
    settings = attack.get("settings") or {}
    if not isinstance(settings, dict):
        yield f"{key}.settings is not a mapping"
    elif not all(_is_number(settings.get(name)) for name in ("lr", "step")):
        yield f"{key}.settings: lr and step are not numbers"


def _repair(repair: Mapping[str, Any]) -> Problems:
    if not isinstance(repair.get("method"), str):
        yield "repair.method is not a text"
    if not isinstance(repair.get("modules") or {}, dict):
        yield "repair.modules is not a mapping"
    if not _is_number(repair.get("strength")):
        yield "repair.strength is not a number"


def _is_count_of_rows(corpus: object) -> bool:
    if not isinstance(corpus, dict):
        return False
    out = corpus.get("left_out") or {}
    numbers_of = [count for name, count in corpus.items() if name != "left_out"]
    return isinstance(out, dict) and all(map(_is_number, [*out.values(), *numbers_of]))


def _each(key: str, entries: Any, check: Callable[[str, Mapping[str, Any]], Problems]) -> Problems:
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        yield f"{key} is not a list of mappings"
        return
    for place, entry in enumerate(entries):
        yield from check(f"{key}[{place}]", entry)


def _is_number(value: object) -> bool:
    """What JSON may say of a measurement: null, NaN and infinity too, but no integer that no float can hold."""
    return value is None or isinstance(value, float) or numbers.finite(value) is not None
