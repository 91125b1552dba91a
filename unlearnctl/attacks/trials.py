"""Try every variant of every attack, and keep each row as it comes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from unlearnctl.attacks.base import Attack, Scores, Target, Variant
from unlearnctl.attacks.recovery import mark_worst, row
from unlearnctl.utils.atomic import open_ours, write_atomically
from unlearnctl.utils.safe_json import loads

FILE = "attacks.jsonl"


class KeptRows:
    """The rows of `attacks.jsonl`, one line per variant, so that what was measured survives a kill.

    Args:
        directory: of the run.
        weights: which weights were attacked; lines about others are dropped.
    """

    def __init__(self, directory: Path, weights: str) -> None:
        self.path = directory / FILE
        self.weights = hashlib.sha256(weights.encode()).hexdigest()[:16]
        self.rows: dict[tuple[str, str], dict[str, Any]] = {}
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        for line in lines:
            # Half a line, if the process was killed while it wrote.
            with suppress(ValueError, KeyError, TypeError, AttributeError):
                entry = loads(line)
                if entry.pop("of") == self.weights:
                    self.rows[entry["attack"], entry["variant"]] = entry
        write_atomically(self.path, "".join(map(self._line, self.rows.values())))

    def add(self, entry: dict[str, Any]) -> None:
        """Append one row."""
        with open_ours(self.path, "a", encoding="utf-8") as file:
            file.write(self._line(entry))

    def _line(self, entry: Mapping[str, Any]) -> str:
        return json.dumps({"of": self.weights, **entry}) + "\n"


def try_all(
    attacks: Mapping[str, Attack],
    target: Target,
    measure: Callable[[Variant], Scores],
    kept: KeptRows,
    base: Scores | None,
    unlearned: Scores,
) -> list[dict[str, Any]]:
    """Return the row of every variant; a variant with a kept row is not measured again.

    Args:
        attacks: by name.
        target: the unlearned model.
        measure: called while the model is as the variant left it.
        kept: rows of an attack that was interrupted.
        base: scores of the untouched model, if it is known.
        unlearned: scores of the target.
    """
    rows = []
    for name, attack in attacks.items():
        with closing(attack.variants(target)) as variants:  # type: ignore[type-var]
            for variant in variants:
                entry = kept.rows.get((name, variant.label))
                if entry is None:
                    entry = row(name, variant, measure(variant), base, unlearned)
                    kept.add(entry)
                share = "" if entry["recovery"] is None else f", recovered {entry['recovery']:.2f}"
                print(f"{name}: {variant.label}{share}", flush=True)
                rows.append(entry)
    mark_worst(rows)
    return rows
