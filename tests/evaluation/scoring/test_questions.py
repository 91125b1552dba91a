"""Every distinct token once; whatever the grouping, each continuation is asked exactly once."""

from __future__ import annotations

import random

import pytest

from unlearnctl.evaluation.scoring.questions import ROW, Question, batches, group

PASS = 512  # tokens that a pass costs


def questions(rng: random.Random, shared: list[int], count: int) -> list[Question]:
    def ids(least: int, most: int) -> list[int]:
        return [rng.randrange(1000) for _ in range(rng.randint(least, most))]

    return [
        Question([*shared, *ids(1, 30)], [ids(1, 9) for _ in range(rng.randint(1, 6))]) for _ in range(count)
    ]


def test_each_continuation_is_asked_once_and_reads_its_own_context() -> None:
    rng = random.Random(0)
    asked = (
        questions(rng, list(range(80)), 20)
        + questions(rng, list(range(500, 560)), 15)
        + questions(rng, [], 9)
    )
    rng.shuffle(asked)
    seen = set()
    for one in group(asked, range(len(asked)), PASS):
        for row in one.rows(asked):
            assert one.prefix + row.context == asked[row.question].context
            assert row.context
            for pick, continuation in zip(row.picked, row.continuations, strict=True):
                assert asked[row.question].continuations[pick] == continuation
                assert (row.question, pick) not in seen
                seen.add((row.question, pick))
    assert len(seen) == sum(len(q.continuations) for q in asked)


def test_shared_beginnings_are_found_and_read_once() -> None:
    rng = random.Random(1)
    first, second = list(range(80)), list(range(500, 560))
    asked = questions(rng, first, 20) + questions(rng, second, 15) + questions(rng, [], 9)
    found = {tuple(one.prefix): len(one.questions) for one in group(asked, range(len(asked)), PASS)}
    assert found == {(): 9, tuple(first): 20, tuple(second): 15}


def test_a_beginning_that_saves_too_little_is_not_split_off() -> None:
    rng = random.Random(2)
    few = PASS // 80  # (few - 1) · 80 < PASS
    asked = questions(rng, list(range(80)), few)
    assert [one.prefix for one in group(asked, range(few), PASS)] == [[]]
    more = questions(rng, list(range(80)), few + 2)
    assert [len(one.prefix) for one in group(more, range(few + 2), PASS)] == [80]


def test_a_context_that_is_all_shared_keeps_its_last_token() -> None:
    asked = [Question(list(range(600)), [[1], [2, 3]]), Question(list(range(600)), [[4]])]
    (one,) = group(asked, [0, 1], PASS)
    assert len(one.prefix) == 599
    assert {row.width for row in one.rows(asked)} == {1, 2}


def test_many_continuations_of_one_context_are_spread_over_rows() -> None:
    asked = [Question([1, 2], [[3] * 100 for _ in range(20)])]
    (one,) = group(asked, [0], PASS)
    rows = one.rows(asked)
    assert len(rows) == 4
    assert all(row.width <= 2 + ROW for row in rows)


@pytest.mark.parametrize("one_pass", [0, 12, 1000])
def test_batches_hold_to_their_limits_and_pad_less_than_a_pass_costs(one_pass: int) -> None:
    asked = questions(random.Random(3), [], 60)
    (one,) = group(asked, range(60), PASS)
    rows = one.rows(asked)
    made = list(batches(rows, 100, 30, one_pass))
    assert [row for batch in made for row in batch] == rows
    for batch, after in zip(made, [*made[1:], [None]], strict=True):
        assert all(_holds(batch, one_pass)) or len(batch) == 1
        # and no batch ends before it must
        assert after[0] is None or not all(_holds([*batch, after[0]], one_pass))


def _holds(batch: list, one_pass: int) -> tuple[bool, bool, bool]:
    """Tell whether the limits on tokens, predictions and padding hold, counted one by one."""
    size = len(batch) * batch[0].width
    padding = sum(batch[0].width - row.width for row in batch)
    return size <= 100, sum(row.predictions for row in batch) <= 30, padding <= one_pass
