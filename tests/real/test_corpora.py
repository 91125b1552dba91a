"""Every published corpus is read whole, under the name and in the form that its authors gave it."""

from __future__ import annotations

from pathlib import Path

import pytest

from unlearnctl.data.corpus import read_corpus
from unlearnctl.data.spec import CorpusSpec

pytestmark = pytest.mark.real

# file, what a user sets besides the path, number of texts (counted with Python's json and csv modules)
FILES = [
    ("tofu/forget01.json", {"field": "answer", "prompt_field": "question"}, 40),
    ("tofu/forget10.json", {"field": "answer", "prompt_field": "question"}, 400),
    ("tofu/retain90.json", {"field": "answer", "prompt_field": "question"}, 3600),
    ("tofu/full.json", {"field": "answer", "prompt_field": "question"}, 4000),
    ("tofu/world_facts.json", {"field": "answer", "prompt_field": "question"}, 117),
    ("tofu/forget10_perturbed.json", {"field": "answer", "alternate_field": "perturbed_answer"}, 400),
    ("arc/bio_corpus.jsonl", {}, 803),
    ("arc/phys_corpus.jsonl", {}, 1295),
    ("arc/arc_bio_train.jsonl", {"field": "question"}, 684),
    ("paradetox.tsv", {"field": "toxic", "alternate_field": "neutral1"}, 11927),
]


@pytest.mark.parametrize(("name", "settings", "count"), FILES, ids=[name for name, _, _ in FILES])
def test_a_file_is_read_whole(data: Path, name: str, settings: dict, count: int) -> None:
    corpus = read_corpus(CorpusSpec(str(data / name), **settings), "data.forget")
    assert len(corpus.texts) == count


def test_a_folder_in_the_authors_layout_gives_the_configuration_that_is_named(data: Path) -> None:
    settings = {"field": "answer", "prompt_field": "question"}
    for name, count in (("forget10", 400), ("retain90", 3600)):
        corpus = read_corpus(CorpusSpec(str(data / "tofu"), name=name, **settings), "data.forget")
        assert len(corpus.texts) == count
