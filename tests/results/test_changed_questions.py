"""Questions for people to read: which ones count as forgotten and as kept, and how many."""

from __future__ import annotations

from unlearnctl.results.changed_questions import MOST, changed_questions
from unlearnctl.results.metric import Metric, Scores
from unlearnctl.results.record import samples_to_json, scores_from_json, scores_to_json
from unlearnctl.results.statistics import share


def scores(role: str, right: list[float], reply: str, replies: int = 99) -> dict[str, dict[str, Metric]]:
    places = range(len(right))[:replies]
    metric = share(right, 0.25, role, "lower" if role == "forget" else "higher")
    answered = metric.answering([f"q{k}" for k in places], [reply] * len(places), [f"e{k}" for k in places])
    return {"mc": {"birds": answered}}


def names(before: Scores, after: Scores) -> dict[str, list[str]]:
    found = changed_questions(before, after)
    return {kind: [entry["question"] for entry in entries] for kind, entries in found.items()}


def test_forgotten_is_right_then_wrong_and_kept_is_right_both_times() -> None:
    before, after = [1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]
    forget = scores("forget", before, "old"), scores("forget", after, "new")
    assert names(*forget) == {"forgotten": ["q1"], "kept": []}
    (entry,) = changed_questions(*forget)["forgotten"]
    assert entry == {
        "suite": "mc",
        "metric": "birds",
        "question": "q1",
        "expected": "e1",
        "before": "old",
        "after": "new",
    }
    assert names(scores("retain", before, "a"), scores("retain", after, "b")) == {
        "forgotten": [],
        "kept": ["q0"],
    }


def test_only_questions_with_replies_count_and_at_most_ten() -> None:
    wrong, right = [0.0] * 30, [1.0] * 30
    assert len(names(scores("forget", right, "a"), scores("forget", wrong, "b"))["forgotten"]) == MOST
    few = scores("forget", right, "a", 3), scores("forget", wrong, "b", 3)
    assert names(*few)["forgotten"] == ["q0", "q1", "q2"]
    assert changed_questions({}, few[1]) == {}
    assert changed_questions({"mc": {"birds": share(right, None, "forget", "lower")}}, few[1]) == {}


def test_the_right_answer_survives_being_written_and_read() -> None:
    made = scores("forget", [1.0, 0.0], "old")
    kept = samples_to_json(made)
    assert kept["mc"]["birds"][0] == {"prompt": "q0", "reply": "old", "score": None, "expected": "e0"}
    items = {"mc": {"birds": [1.0, 0.0]}}
    assert scores_from_json(scores_to_json(made), items, kept) == made
