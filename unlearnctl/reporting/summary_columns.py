"""Choose which settings get a column in the table of many runs, and how they are written there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from unlearnctl.runs.layout import PLACES
from unlearnctl.utils import numbers

Config = Mapping[str, object]  # setting → value, flattened
HIDDEN = (*PLACES, "run_dir")  # settings that get no column, because the name of a row says as much
MOST_COLUMNS = 8  # of settings; all that differ are in `keys`
ABSENT = object()


def differing(configs: Sequence[Config]) -> list[str]:
    """List keys with more than one value (absence is a value), in the order of the configs."""
    values: dict[str, set[str]] = {}
    for key in dict.fromkeys(key for config in configs for key in config):
        values[key] = {repr(config.get(key, ABSENT)) for config in configs}
    return [key for key, found in values.items() if len(found) > 1 and key not in HIDDEN]


def columns_of(keys: list[str], configs: Sequence[Config]) -> list[str]:
    """Pick the settings that a reader needs, from those that differ."""
    return _for_readers([key for key in keys if not _implied(key, keys, configs)], configs)


def _for_readers(keys: list[str], configs: Sequence[Config]) -> list[str]:
    """Pick columns: names of options first; if there are too many others, the seed and the commonest."""
    # sorting is stable, so the order stays otherwise
    keys = sorted(keys, key=lambda key: not key.endswith(".name"))
    held = {key: sum(key in config for config in configs) for key in keys}
    ranked = sorted(keys, key=lambda key: (not key.endswith(".name"), key != "seed", -held[key]))
    return [key for key in keys if key in ranked[:MOST_COLUMNS]]


def _implied(key: str, keys: list[str], configs: Sequence[Config]) -> bool:
    """Tell whether the name of its group already implies the value: `objective.name` stands for its defaults."""
    group = key.partition(".")[0]
    names = [
        k
        for k in keys
        if k.endswith(".name") and k.count(".") == 1 and (key == "name" or k == f"{group}.name")
    ]
    if key in names or not names:
        return False
    seen: dict[str, str] = {}
    for config in configs:
        chosen, entry = repr([config.get(name) for name in names]), repr(config.get(key, ABSENT))
        if seen.setdefault(chosen, entry) != entry:
            return False
    return True


def sort_key(entry: object) -> tuple[int, float, str]:
    """Return a key that sorts settings: numbers by size, then texts."""
    number = numbers.finite(entry)
    return (1, 0.0, str(entry)) if number is None else (0, number, "")


def short(key: str, others: Iterable[str]) -> str:
    """Return the last part of a key, or more of it if that is ambiguous; `objective.name` becomes `objective`."""
    if key.endswith(".name"):
        return key.removesuffix(".name")
    last = key.rpartition(".")[2]
    return key if sum(other.rpartition(".")[2] == last for other in others) > 1 else last


def cell(config: Config, key: str) -> str:
    """Format a setting for a table; a dash if this run has no such key."""
    return numbers.setting(config[key]) if key in config else numbers.MISSING
