"""lm-eval's own tasks over local copies of their data: the rows that the hub would give, and the harness's scores."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM

from tests.models.tiny import tiny_model
from tests.models.words import word_tokenizer
from unlearnctl.config.instantiate import build
from unlearnctl.data.formats import file_rows
from unlearnctl.data.spec import CorpusSpec
from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.evaluation.suites.lm_eval import LMEvalSuite
from unlearnctl.evaluation.task_data import LocalData
from unlearnctl.utils.errors import UserError

MMLU = "lm_eval:mmlu/default"
SUBJECTS = ("anatomy", "virology")


def cells(rng: random.Random) -> list[str]:
    return [" ".join(f"w{rng.randrange(90)}" for _ in range(rng.randint(1, 6))) for _ in range(5)]


@pytest.fixture
def mmlu(tmp_path: Path) -> Path:
    """Two subjects as MMLU's authors publish them: a table for each subject and split, without a header."""
    rng = random.Random(0)
    for split, count in (("dev", 5), ("test", 8)):
        (tmp_path / split).mkdir()
        for subject in SUBJECTS:
            with (tmp_path / split / f"{subject}_{split}.csv").open("w", newline="") as file:
                csv.writer(file).writerows([*cells(rng), rng.choice("ABCD")] for _ in range(count))
    return tmp_path


def both(suite: LMEvalSuite, task: str, shots: int) -> tuple[Any, Any]:
    """Samples of the harness's own class and entry point, and ours, on the same task definitions."""
    manager, _ = suite.harness._manager()
    model, tokenizer = tiny_model("llama"), word_tokenizer()
    theirs = simple_evaluate(
        model=HFLM(model, tokenizer=tokenizer, batch_size=4), tasks=[task], task_manager=manager,
        num_fewshot=shots, bootstrap_iters=0, log_samples=True,
    )  # fmt: skip
    assert theirs is not None
    return theirs["samples"][task], suite._evaluate(model, tokenizer, Answers())["samples"][task]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shots", [5, pytest.param(0, marks=pytest.mark.full)])
def test_scores_are_the_harness_own_on_its_own_definitions(mmlu: Path, shots: int) -> None:
    suite = LMEvalSuite({"a": "mmlu_anatomy"}, MMLU, "retain", shots, path=str(mmlu))
    suite.validate()
    theirs, ours = both(suite, "mmlu_anatomy", shots)
    assert len(theirs) == 8
    table = mmlu / "test/anatomy_test.csv"
    first, written = next(file_rows(table, CorpusSpec(""), "k"))[1], theirs[0]["arguments"][0][0]
    assert written.startswith("The following are multiple choice questions (with answers) about anatomy.")
    assert written.endswith(f"{first['question']}\n" + _listed(first["choices"]) + "\nAnswer:")
    assert written.count("Answer:") == shots + 1
    for mine, their in zip(ours, theirs, strict=True):
        assert (mine["arguments"], mine["acc"], mine["target"]) == (
            their["arguments"],
            their["acc"],
            their["target"],
        )
        likelihoods = [reply[0] for reply in their["filtered_resps"]]
        assert [reply[0] for reply in mine["filtered_resps"]] == pytest.approx(likelihoods, abs=1e-4)


def _listed(choices: list[str]) -> str:
    return "\n".join(f"{letter}. {choice}" for letter, choice in zip("ABCD", choices, strict=True))


def test_each_subject_has_its_own_score(mmlu: Path) -> None:
    tasks = {subject: f"mmlu_{subject}" for subject in SUBJECTS}
    suite = LMEvalSuite(tasks, MMLU, "retain", 0, path=str(mmlu), limit=6)
    suite.validate()
    found = suite.run(tiny_model("llama"), word_tokenizer(), Answers())
    assert {name: (metric.n, metric.chance) for name, metric in found.items()} == dict.fromkeys(
        SUBJECTS, (6, 0.25)
    )


@pytest.mark.parametrize("file", ["wmdp-bio/test-00000-of-00001.jsonl", "wmdp-bio/test.jsonl"])
def test_the_layout_of_a_hub_dataset_serves_wmdp(file: str, tmp_path: Path) -> None:
    (tmp_path / "wmdp-bio").mkdir()
    row = {"question": "w1", "choices": ["w2", "w3", "w4", "w5"], "answer": 2}
    (tmp_path / file).write_text(f"{json.dumps(row)}\n" * 3)
    suite = LMEvalSuite({"bio": "wmdp_bio"}, "lm_eval:wmdp", "forget", path=str(tmp_path))
    suite.validate()
    assert suite.harness.load()["tasks"]["wmdp_bio"].eval_docs[0] == row


def test_a_split_is_read_under_the_name_that_the_hub_gives_it(tmp_path: Path) -> None:
    """`dev` is MMLU's own split, not another word for `validation`."""
    (tmp_path / "anatomy").mkdir()
    for split in ("dev", "validation", "test"):
        (tmp_path / f"anatomy/{split}-00000-of-00001.jsonl").write_text(json.dumps({"split": split}) + "\n")
    found = LocalData(tmp_path, "anatomy", ("dev", "test"), "k")()
    assert {split: rows[0]["split"] for split, rows in found.items()} == {"dev": "dev", "test": "test"}


def test_what_is_missing_or_damaged_is_one_line(mmlu: Path, tmp_path: Path) -> None:
    def check(path: Path, include: str = MMLU) -> None:
        node = {"tasks": {"m": "mmlu_anatomy"}, "include": include, "role": "retain", "key": "eval.m"}
        target = {"_target_": f"{LMEvalSuite.__module__}.LMEvalSuite"}
        build("eval.m", {**target, **node, "path": str(path)}).validate()

    with pytest.raises(UserError, match=r"eval\.m\.path=.*nowhere: no such folder"):
        check(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"eval\.m\.path=.*: task files of your own name their data"):
        check(mmlu, str(tmp_path))
    (mmlu / "dev/anatomy_dev.csv").rename(mmlu / "dev/anatomi_dev.csv")
    with pytest.raises(
        UserError, match=r"eval\.m\.path=.*no dev/anatomy_dev.csv \(did you mean 'anatomi_dev"
    ):
        check(mmlu)
    (mmlu / "dev/anatomy_dev.csv").write_text("question,one,two,three,four,A\nquestion,one,two\n")
    with pytest.raises(UserError, match=r"eval\.m\.path=.*anatomy_dev\.csv: row 2 has 3 cells"):
        check(mmlu)
