"""Signs that a model broke rather than forgot: in what it says, and in its scores before and after."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from unlearnctl.results.metric import Metric
from unlearnctl.results.statistics import mean, share

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Scores = Mapping[str, Mapping[str, Metric]]
BOUNDS = {
    "gibberish": 0.1,  # share of replies
    "repetition": 0.3,  # mean share of 4-grams that came before in the same reply
    "empty": 0.2,  # share of replies
    "over_unlearning": 0.1,  # how far below 0.5 a membership AUC may lie
    "retain_drop": 0.1,  # of what was there above chance
}
_WORD = re.compile(r"[^\W\d_]+|\d+")


def vocabulary(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> frozenset[str]:
    """Collect the words that make sense, in lower case.

    They are those of `texts` (a suite's own), and every whole word of two letters or more that the tokenizer has a
    piece for.
    """
    pieces = (piece[1:].lower() for piece in tokenizer.get_vocab() if piece[:1] in ("▁", "Ġ"))
    known = {piece for piece in pieces if len(piece) > 1 and piece.isalpha()}
    return frozenset(known.union(*(map(str.lower, _WORD.findall(text)) for text in texts)))


def is_gibberish(reply: str, known: Collection[str]) -> bool:
    """Whether most of a reply is not words: fewer than half of its runs of letters are known (numbers are), or it has
    neither letters nor digits.

    Our reading: benchmarks use a trained classifier. This one sees broken spelling and lone signs, not word salad;
    that shows in the perplexity of retained text. An empty reply is not gibberish.
    """
    words = _WORD.findall(reply.lower())
    sense = sum(word.isdigit() or word in known for word in words)
    return bool(reply.strip()) and (not words or 2 * sense < len(words))


def repetition(reply: str, n: int = 4) -> float:
    """Return the share of the reply's word n-grams that repeat earlier ones; 0 where there are none."""
    words = reply.split()
    grams = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    return 1 - len(grams) / grams.total() if grams else 0.0


def reply_metrics(replies: Sequence[str], known: Collection[str], prefix: str = "") -> dict[str, Metric]:
    """Measure `gibberish`, `repetition` and `empty` of replies: neither forgetting nor retaining, but wanted low."""
    return {
        f"{prefix}gibberish": share(
            [float(is_gibberish(r, known)) for r in replies], None, "quality", "lower"
        ),
        f"{prefix}repetition": mean([repetition(r) for r in replies], "quality", "lower"),
        f"{prefix}empty": share([float(not r.strip()) for r in replies], None, "quality", "lower"),
    }


def flags(before: Scores, after: Scores, bounds: Mapping[str, float] | None = None) -> list[dict[str, Any]]:
    """List {name, metric, value, bound, raised} for each sign that can be judged, by the worst metric of its kind.

    `gibberish`, `repetition`, `empty`: as measured. `over_unlearning`: 0.5 minus the lowest membership AUC; texts that
    look *less* familiar than unseen ones give the forgetting away. `retain_drop`: share of a retain metric's height
    above chance (of a perplexity's inverse) that is lost; needs `before`. The last two are raised only where the
    value is also beyond its error.
    """
    limits = {**BOUNDS, **(bounds or {})}
    worst: dict[str, dict[str, Any]] = {}
    for name, value, metric, clear in _signs(before, after):
        raised = clear and value > limits[name]
        entry = {"name": name, "metric": metric, "value": value, "bound": limits[name], "raised": raised}
        known = worst.setdefault(name, entry)
        if (raised, value) > (known["raised"], known["value"]):
            worst[name] = entry
    return list(worst.values())


def _signs(before: Scores, after: Scores) -> Iterator[tuple[str, float, str, bool]]:
    """Yield (sign, value, metric, whether it exceeds noise)."""
    for suite, metrics in after.items():
        for name, now in metrics.items():
            label, last = f"{suite}/{name}", name.rsplit("_", 1)[-1]
            if now.role == "quality" and last in BOUNDS:
                yield last, now.value, label, True
            if now.role == "forget" and last == "auc":
                yield "over_unlearning", 0.5 - now.value, label, now.interval is None or now.interval[1] < 0.5
            was = before.get(suite, {}).get(name)
            if now.role == "retain" and was is not None and (lost := _lost(name, was, now)) is not None:
                yield "retain_drop", lost, label, _clear(was, now)


def _lost(name: str, was: Metric, now: Metric) -> float | None:
    if name.endswith("ppl"):
        return 1 - was.value / now.value if math.isfinite(now.value) else 1.0
    height = was.value - (was.chance or 0.0)
    if was.goal != "higher" or height <= 0:
        return None
    return (was.value - now.value) / height if math.isfinite(now.value) else 1.0


def _clear(was: Metric, now: Metric) -> bool:
    noise = 1.96 * math.hypot(was.stderr or 0.0, now.stderr or 0.0)
    return not abs(now.value - was.value) <= noise  # NaN is clear
