"""A run directory as reports see it: results.json, metrics.jsonl and config.yaml, read and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from unlearnctl.results.history import ROWS, read_history
from unlearnctl.results.schema import read_results
from unlearnctl.utils import numbers

SIGNIFICANT = 0.05
ROLES = {"forget": 0, "retain": 1}


@dataclass(frozen=True)
class Score:
    """One measured number, and what is needed to judge it."""

    value: float | None = None
    stderr: float | None = None
    n: int | None = None
    chance: float | None = None
    interval: tuple[float, float] | None = None  # 95 %

    @property
    def half(self) -> float | None:
        """Return half of the 95 % interval: of the recorded one, otherwise 1.96 standard errors."""
        if self.interval:
            return (self.interval[1] - self.interval[0]) / 2
        return None if self.stderr is None else numbers.Z95 * self.stderr

    @classmethod
    def read(cls, entry: Mapping[str, Any] | None) -> Score:
        """Read an entry of results.json. NaN and infinity are kept, because a diverged run must show."""
        entry = entry or {}
        raw = entry.get("value")
        number = raw if isinstance(raw, float) else numbers.finite(raw)
        n = numbers.finite(entry.get("n"))
        stderr, chance = numbers.finite(entry.get("stderr")), numbers.finite(entry.get("chance"))
        found = entry.get("interval")
        ends = [numbers.finite(end) for end in found] if isinstance(found, list | tuple) else []
        interval = (ends[0], ends[1]) if len(ends) == 2 and None not in ends else None
        return cls(number, stderr, None if n is None else int(n), chance, interval)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Row:
    """One metric, before and after."""

    suite: str
    metric: str
    role: str = ""
    goal: str = ""
    before: Score = field(default_factory=Score)
    after: Score = field(default_factory=Score)
    p: float | None = None  # of a paired test on the items

    @property
    def change(self) -> float | None:
        """Return after minus before, if both were measured."""
        old, new = self.before.value, self.after.value
        return None if old is None or new is None else new - old

    @property
    def chance(self) -> float | None:
        """Return what guessing scores."""
        return self.before.chance if self.after.chance is None else self.after.chance

    @property
    def n(self) -> int | None:
        """Return the number of items scored."""
        return self.before.n if self.after.n is None else self.after.n

    @property
    def subject(self) -> str:
        """Return the part that a metric is about: `anatomy` of `mmlu/anatomy`; empty for a whole metric."""
        return self.metric.partition("/")[2]

    @property
    def verdict(self) -> str:
        """Judge the change: `good`, `bad`, or `same` if a paired test on the items is not significant (p ≥ .05).

        If the items are unknown, the change must exceed the 95 % interval of a difference between two independent
        measurements, which errs towards `same`.
        """
        delta = self.change
        old, new, target = self.before.value, self.after.value, self.chance
        if delta is None or self.goal not in ("lower", "higher", "chance"):
            return ""
        if not math.isfinite(delta):
            return "bad"
        noise = numbers.Z95 * math.hypot(self.before.stderr or 0.0, self.after.stderr or 0.0)
        if self.p is not None:
            noise = math.inf if self.p >= SIGNIFICANT else 0.0
        if abs(delta) <= max(noise, 0.5 * 10.0 ** -numbers.decimals(self.metric)):
            return "same"
        if self.goal == "chance":  # a score below chance is as bad as one above it
            if old is None or new is None or target is None:
                return ""
            return "good" if abs(new - target) < abs(old - target) else "bad"
        return "good" if (delta < 0) == (self.goal == "lower") else "bad"


def compare(results: Mapping[str, Any]) -> list[Row]:
    """Build the rows of a before/after table: forget metrics first, otherwise in recorded order."""
    before, after = results.get("before") or {}, results.get("after") or {}
    rows = []
    for suite in dict.fromkeys([*before, *after]):
        old, new = before.get(suite) or {}, after.get(suite) or {}
        for metric in dict.fromkeys([*old, *new]):
            known = {**(old.get(metric) or {}), **(new.get(metric) or {})}
            role, goal = str(known.get("role") or ""), str(known.get("goal") or "")
            scores = Score.read(old.get(metric)), Score.read(new.get(metric))
            test = ((results.get("paired") or {}).get(suite) or {}).get(metric) or {}
            rows.append(Row(suite, metric, role, goal, *scores, numbers.finite(test.get("p"))))
    return sorted(rows, key=lambda row: ROLES.get(row.role, len(ROLES)))


def main_pair(rows: list[Row]) -> tuple[Row, Row] | None:
    """Pick the forget and the retain metric that stand for a run: the first of each, if possible no perplexity."""
    picked = []
    for role in ROLES:
        candidates = sorted(
            (r for r in rows if r.role == role), key=lambda r: numbers.is_perplexity(r.metric)
        )
        picked.extend(candidates[:1])
    return (picked[0], picked[1]) if len(picked) == len(ROLES) else None


@dataclass(frozen=True)
class Run:
    """Everything that a report reads from one run directory."""

    path: Path
    results: dict[str, Any]
    train: list[dict[str, Any]] = field(default_factory=list)
    evals: list[dict[str, Any]] = field(default_factory=list)
    actions: list[dict[str, Any]] = field(default_factory=list)  # of a meta-learned run
    yaml: str = ""
    unreadable: int = 0
    every: int = 1  # only every n-th training row was read

    @cached_property
    def rows(self) -> list[Row]:
        """Return the before/after table."""
        return compare(self.results)

    @property
    def title(self) -> str:
        """Return a title such as `rmu_cosine on tinyworld, tinyworld_hazard`, as far as the config gives the names."""
        objective, model, data = (self._name(group) for group in ("objective", "model", "data"))
        repair = self.results.get("repair")
        under_attack = " under attack" if self.results.get("attacks") else ""
        what = objective or ("update" if repair else "evaluation")
        if repair:
            what += f" repaired with {repair['method']}"
        return f"{what}{under_attack} on {', '.join(filter(None, (model, data))) or self.path.name}"

    def _name(self, group: str) -> str:
        entry = (self.results.get("config") or {}).get(group)
        return str(entry.get("name") or "") if isinstance(entry, Mapping) else str(entry or "")

    def trace(self, suite: str, metric: str) -> list[tuple[float, float]]:
        """Collect (step, value) of a metric from the in-training evaluations."""
        points = []
        for row in self.evals:
            entry: Any = row.get("suites")
            for name in (suite, metric):
                entry = entry.get(name) if isinstance(entry, Mapping) else None
            number = numbers.finite(entry.get("value") if isinstance(entry, Mapping) else entry)
            if number is not None:
                points.append((row["step"], number))
        return points


def load_run(path: Path, history: bool = True) -> Run:
    """Read a run directory, with its history if wanted.

    Raises:
        UserError: results.json is missing, or is not one of ours.
    """
    run = Run(path, read_results(path / "results.json"))
    return with_history(run) if history else run


def with_history(run: Run, most: int = ROWS) -> Run:
    """Add config.yaml and metrics.jsonl to a run, at most about `most` rows of each kind."""
    found = read_history(run.path / "metrics.jsonl", most)
    by_kind: dict[str, dict[float, dict[str, Any]]] = {"train": {}, "eval": {}, "meta": {}, "episode": {}}
    for row in found.rows:  # older runs that were resumed may repeat a step: the later row counts
        by_kind.setdefault(str(row.get("kind")), {})[row["step"]] = row
    train, evals, acts, episodes = (
        [by_kind[kind][step] for step in sorted(by_kind[kind])]
        for kind in ("train", "eval", "meta", "episode")
    )
    config = run.path / "config.yaml"
    text = config.read_text(encoding="utf-8", errors="replace") if config.is_file() else ""
    return replace(
        run,
        train=train,
        evals=evals,
        actions=episodes or acts,
        yaml=text,
        unreadable=found.unreadable,
        every=found.every,
    )
