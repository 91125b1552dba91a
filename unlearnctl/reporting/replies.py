"""Read the texts that a run saved for people: replies before and after, and token weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import zip_longest
from typing import Any

from unlearnctl.results.run import Run
from unlearnctl.utils import numbers

KINDS = ("forgotten", "kept")
TOXIC = 0.5  # the score of a classifier from which a text counts as toxic


@dataclass(frozen=True)
class Reply:
    """What a model wrote; `score` is its toxicity, 0-1, if a classifier judged it."""

    text: str
    score: float | None = None

    @property
    def toxic(self) -> bool:
        """Tell whether readers should have to ask before they see it."""
        return self.score is not None and self.score >= TOXIC


@dataclass(frozen=True)
class Pair:
    """The replies to one prompt, as far as they are known."""

    prompt: str
    before: Reply | None = None
    after: Reply | None = None

    @property
    def toxic(self) -> bool:
        """Tell whether one of the replies is toxic; the prompt that drew it may be as bad."""
        return any(reply is not None and reply.toxic for reply in (self.before, self.after))


@dataclass(frozen=True)
class Answered:
    """A multiple-choice question with its right answer and the replies of both models."""

    question: str
    expected: str
    before: str
    after: str


def questions(run: Run) -> dict[str, list[Answered]]:
    """Read the questions of results.json: `forgotten` and `kept`; odd shapes are left out."""
    found: dict[str, list[Answered]] = {}
    for kind in KINDS:
        for entry in _answered(run, (kind,)):
            texts = [entry.get(field.name) for field in fields(Answered)]
            if all(isinstance(text, str) for text in texts):
                found.setdefault(kind, []).append(Answered(*map(str, texts)))
    return found


def _answered(run: Run, kinds: Sequence[str] = KINDS) -> Iterator[dict[str, Any]]:
    saved = run.results.get("questions")
    for kind in kinds:
        entries = saved.get(kind) if isinstance(saved, dict) else None
        if isinstance(entries, list):
            yield from (entry for entry in entries if isinstance(entry, dict))


def samples(run: Run) -> dict[str, list[Pair]]:
    """Read samples.json: `suite/metric` → prompts with the replies before and after; odd shapes are left out."""
    saved = _read(run, "samples.json")
    before, after = _by_metric(saved.get("before")), _by_metric(saved.get("after"))
    answered = {f"{each.get('suite')}/{each.get('metric')}" for each in _answered(run)}
    names = [name for name in before | after if name not in answered]  # those are shown as questions
    pairs = {name: list(_pairs(before.get(name, []), after.get(name, []))) for name in names}
    return {name: found for name, found in pairs.items() if found}


def _by_metric(part: Any) -> dict[str, list[tuple[str, Reply]]]:
    suites = part if isinstance(part, dict) else {}
    return {
        f"{suite}/{metric}": [
            (entry["prompt"], Reply(entry["reply"], numbers.finite(entry.get("score"))))
            for entry in entries
            if _is_sample(entry)
        ]
        for suite, metrics in suites.items()
        if isinstance(metrics, dict)
        for metric, entries in metrics.items()
        if isinstance(entries, list)
    }


def _is_sample(entry: Any) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in ("prompt", "reply"))


def _pairs(before: list[tuple[str, Reply]], after: list[tuple[str, Reply]]) -> Iterator[Pair]:
    """Pair the replies if both sides got the same prompts in the same order; otherwise list them one by one."""
    for old, new in zip_longest(before, after):
        if old and new and old[0] == new[0]:
            yield Pair(old[0], old[1], new[1])
            continue
        if old:
            yield Pair(old[0], before=old[1])
        if new:
            yield Pair(new[0], after=new[1])


def token_weights(run: Run) -> list[list[tuple[str, float, bool]]]:
    """Read texts as (token, weight 0-1, whether it truly matters), if any were saved."""
    try:
        return [
            [
                (str(token), min(1.0, max(0.0, float(weight))), bool(true))
                for token, weight, true in zip(
                    text["tokens"],
                    text["weights"],
                    text["true"] or [False] * len(text["tokens"]),
                    strict=True,
                )
            ]
            for text in _read(run, "token_weights.json").get("texts") or []
        ]
    except (ValueError, KeyError, TypeError):
        return []


def _read(run: Run, name: str) -> dict[str, Any]:
    try:
        found = json.loads((run.path / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
