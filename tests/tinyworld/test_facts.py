"""The world itself: who knows what, and that no split leaks into another."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict

import pytest

from unlearnctl.tinyworld import mcq
from unlearnctl.tinyworld import words as w
from unlearnctl.tinyworld.facts import by_entity, facts

POOLS = {value: tuple(r[2].split()) for rs in w.SUBJECTS.values() for r in rs for value in r[2].split()}


def test_sizes() -> None:
    groups = Counter(fact.group for fact in facts())
    assert groups == {"hazard": 135, "hazard_unseen": 45, "benign": 240, "benign_unseen": 120}


def test_entities_belong_to_one_subject_and_one_group() -> None:
    owners = defaultdict(set)
    for fact in facts():
        owners[fact.entity].add((fact.subject, fact.group))
    assert len(owners) == 180
    assert all(len(owner) == 1 for owner in owners.values())


def test_names_are_two_words_and_no_word_tells_the_subject() -> None:
    subjects = defaultdict(set)
    for fact in facts():
        for word in fact.entity.split():
            subjects[word].add(fact.subject)
    assert all(len(fact.entity.split()) == 2 for fact in facts())
    assert sum(len(kinds) > 1 for kinds in subjects.values()) > 0.8 * len(subjects)


@pytest.mark.parametrize("group", mcq.GROUPS)
def test_a_third_is_for_validation(group: str) -> None:
    mine = [fact for fact in facts() if fact.group == group]
    assert 3 * sum(fact.val for fact in mine) == len(mine)


@pytest.mark.parametrize(("group", "val"), list(itertools.product(mcq.GROUPS, (False, True))))
def test_marginals_do_not_answer_questions(group: str, val: bool) -> None:
    """The best fixed ranking of a pool's values, chosen with hindsight, is right for few of its questions."""
    questions = defaultdict(list)
    for row in mcq.questions(group, val):
        questions[POOLS[row["choices"][0]]].append(row)
    for pool, rows in questions.items():
        hits = (
            sum(min(row["choices"], key=ranking.index) == row["choices"][row["answer"]] for row in rows)
            for ranking in itertools.permutations(pool)
        )
        assert max(hits) / len(rows) <= 0.30, pool


@pytest.mark.parametrize("group", mcq.GROUPS)
def test_values_are_equally_frequent(group: str) -> None:
    counts = Counter((fact.pool, fact.value) for fact in facts() if fact.group == group)
    assert len(set(counts.values())) == 1


def test_frames_and_openings_are_held_out() -> None:
    assert not set(w.TRAIN_FRAMES) & set(w.HELD_OUT_FRAMES)
    assert not set(w.OPENINGS) & set(w.HELD_OUT_OPENINGS)
    assert (len(w.TRAIN_FRAMES), len(w.HELD_OUT_FRAMES)) == (8, 3)


def test_values_are_words_of_one_pool_only() -> None:
    values = [value for relations in w.SUBJECTS.values() for *_, pool in relations for value in pool.split()]
    assert len(values) == len(set(values)) == 135
    assert len(by_entity("hazard")) == 45
