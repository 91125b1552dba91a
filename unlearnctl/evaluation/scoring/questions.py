"""Which tokens a set of multiple-choice questions needs, and in what passes: every distinct token once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

SHORTEST_PREFIX = 8  # tokens
ROW = 512  # tokens of choices beside one context: more would only attend to each other


@dataclass(frozen=True)
class Question:
    """A context and the continuations whose log-likelihoods after it are asked for; all are token ids, not empty."""

    context: list[int]
    continuations: list[list[int]]


@dataclass(frozen=True)
class Row:
    """One row of a batch: the end of a context, then some of its continuations side by side.

    A continuation's last token is predicted but never read, so it takes no place.
    """

    question: int
    context: list[int]  # without the group's prefix; at least one token
    picked: list[int]  # places in the question's continuations
    continuations: list[list[int]]

    @property
    def width(self) -> int:
        """The number of tokens read."""
        return len(self.context) + sum(len(c) - 1 for c in self.continuations)

    @property
    def predictions(self) -> int:
        """The number of tokens predicted."""
        return sum(map(len, self.continuations))


@dataclass
class Group:
    """Questions whose contexts begin with the same tokens."""

    prefix: list[int]
    questions: list[int] = field(default_factory=list)

    def rows(self, questions: Sequence[Question]) -> list[Row]:
        """List the rows, widest first, so that the rows of a batch have similar widths."""
        found = [row for place in self.questions for row in _rows(place, questions[place], len(self.prefix))]
        return sorted(found, key=lambda row: -row.width)


def group(questions: Sequence[Question], places: Sequence[int], one_pass: int) -> list[Group]:
    """Group by shared beginnings, found on sorted contexts; what shares too little forms a group without a prefix.

    A context joins the group before it if the tokens saved do not become fewer by that.

    Args:
        one_pass: tokens that a prefix must save, because it is read in a pass of its own.
    """
    alone, groups = Group([]), []
    current: Group | None = None
    for place in sorted(places, key=lambda p: questions[p].context):
        context = questions[place].context[:-1]  # its last token's output is needed, so it is read anyway
        n = len(current.questions) if current else 0
        common = _common(current.prefix, context) if current else 0
        if current and common >= SHORTEST_PREFIX and n * common >= (n - 1) * len(current.prefix):
            current.prefix = current.prefix[:common]
        else:
            current = Group(context)
            groups.append(current)
        current.questions.append(place)
    for one in groups:
        if (len(one.questions) - 1) * len(one.prefix) < one_pass:
            alone.questions += one.questions
    kept = [one for one in groups if (len(one.questions) - 1) * len(one.prefix) >= one_pass]
    return [alone, *kept] if alone.questions else kept


def batches(rows: Sequence[Row], tokens: int, predictions: int, one_pass: int) -> Iterator[list[Row]]:
    """Split rows, widest first, into runs; a row beyond the limits stands alone.

    Args:
        tokens: of a run at most, padding included.
        predictions: of a run at most.
        one_pass: tokens of padding in a run at most: as many as a pass of its own costs.
    """
    batch: list[Row] = []
    read = asked = 0
    for row in rows:
        size = (len(batch) + 1) * batch[0].width if batch else 0
        padded = size > tokens or size - read - row.width > one_pass
        if batch and (padded or asked + row.predictions > predictions):
            yield batch
            batch, read, asked = [], 0, 0
        batch.append(row)
        read, asked = read + row.width, asked + row.predictions
    if batch:
        yield batch


def _rows(place: int, question: Question, start: int) -> Iterator[Row]:
    row = Row(place, question.context[start:], [], [])
    for pick, continuation in enumerate(question.continuations):
        if row.picked and row.width + len(continuation) > len(row.context) + ROW:
            yield row
            row = Row(place, row.context, [], [])
        row.picked.append(pick)
        row.continuations.append(continuation)
    yield row


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    for count, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return count
    return min(len(a), len(b))
