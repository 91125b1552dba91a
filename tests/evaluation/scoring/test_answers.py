"""What was answered is not asked again, whatever interrupted the asking."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from unlearnctl.evaluation.scoring.answers import Answers


class Killed(Exception):
    pass


def squares(items: list[int], asked: list[int], stop_after: int | None = None):
    def work(places: list[int]) -> Iterator[tuple[int, int]]:
        for place in places:
            if stop_after is not None and len(asked) == stop_after:
                raise Killed
            asked.append(items[place])
            yield place, items[place] ** 2

    return work


def test_in_order_and_equal_items_once() -> None:
    items, asked = [3, 1, 3, 2], []
    assert Answers().all("square", items, squares(items, asked)) == [9, 1, 9, 4]
    assert sorted(asked) == [1, 2, 3]


def test_costly_items_come_first() -> None:
    items, asked = [3, 1, 9, 2], []
    Answers().all("square", items, squares(items, asked), cost=lambda place: items[place])
    assert asked == [9, 3, 2, 1]


def test_a_killed_evaluation_resumes(tmp_path: Path) -> None:
    items, first, second = list(range(10)), [], []
    with pytest.raises(Killed):
        Answers(tmp_path / "a").all("square", items, squares(items, first, stop_after=6))
    again = Answers(tmp_path / "a")
    assert again.resumed == 6
    assert again.all("square", items, squares(items, second)) == [i * i for i in items]
    assert not set(first) & set(second)
    again.forget()
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("damage", [b'["abc', b"\xff\xfe\n", b"null\n", b'{"k": 1}\n', b"[1]\n"])
def test_half_a_line_is_asked_again(damage: bytes, tmp_path: Path) -> None:
    items, asked = [1, 2, 3], []
    with pytest.raises(Killed):
        Answers(tmp_path).all("square", items, squares(items, [], stop_after=2))
    with (tmp_path / "0.jsonl").open("ab") as file:
        file.write(damage)
    assert Answers(tmp_path).all("square", items, squares(items, asked)) == [1, 4, 9]
    assert asked == [3]
    assert Answers(tmp_path).resumed == 3


def test_kinds_do_not_mix_and_numbers_come_back_exactly(tmp_path: Path) -> None:
    value = 0.1 + 0.2
    assert Answers(tmp_path).each("a", ["x"], lambda item: value) == [value]
    kept = Answers(tmp_path)
    assert kept.each("b", ["x"], lambda item: -1.0) == [-1.0]
    assert kept.each("a", ["x"], lambda item: None) == [value]
    assert all(len(json.loads(line)) == 2 for line in (tmp_path / "0.jsonl").read_text().split("\n") if line)
